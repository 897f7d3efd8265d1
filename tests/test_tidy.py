"""Style that no linter checks: sizes, names, and calls that make a test or the core untrustworthy."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests import repository

FILE_LINES_MAX = 400  # what a reader can hold in one sitting
FUNCTION_LINES_MAX = 60  # one screen, docstring included
VAGUE_NAMES = {"base", "common", "helper", "helpers", "misc", "shared", "util", "utils"}

# Each makes the same input give another answer, or reaches out of the core.
BANNED_IN_CORE = {
    "__import__",
    "breakpoint",
    "compile",
    "eval",
    "exec",
    "globals",
    "hash",
    "id",
    "input",
    "open",
    "print",
    "vars",
}
BANNED_CLOCKS = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "datetime.datetime.now",
    "date.today",
    "datetime.date.today",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions(module: ast.Module) -> Iterator[Function]:
    """Every function and method of a file."""
    return (node for node in ast.walk(module) if isinstance(node, FUNCTIONS))


def calls(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call below a node, with the dotted name of what is called."""
    return ((repository.dotted(call.func), call) for call in ast.walk(node) if isinstance(call, ast.Call))


def listing(faults: Iterable[str]) -> str:
    """The faults, one a line."""
    return "\n".join(sorted(faults))


def in_tests(path: Path) -> bool:
    """Whether it is a file of the tests."""
    return repository.under(path, "tests")


def long_files(path: Path) -> Iterator[str]:
    """A file that is too long."""
    count = len(repository.text(path).splitlines())
    if count > FILE_LINES_MAX:
        yield f"{path}: {count} lines, at most {FILE_LINES_MAX}; split it by what it is about"


def long_functions(path: Path) -> Iterator[str]:
    """Functions that are too long."""
    for function in functions(repository.tree(path)):
        count = (function.end_lineno or function.lineno) - function.lineno + 1
        if count > FUNCTION_LINES_MAX:
            yield f"{path}:{function.lineno}: {function.name} has {count} lines, at most {FUNCTION_LINES_MAX}"


def vague_names(path: Path) -> Iterator[str]:
    """A file or folder whose name says nothing about what is in it."""
    if VAGUE_NAMES & {*path.parent.parts, path.stem}:
        yield f"{path}: name it after what is in it"


PLACES_BY_HASH = Path("daemon/core/table.py")
"""A hash only chooses a bucket there: what it holds, and in which order, is the same in every process."""


def banned_in_core(path: Path) -> Iterator[str]:
    """Calls and statements that a pure core has no use for."""
    if not repository.under(path, "daemon/core"):
        return
    for name, call in calls(repository.tree(path)):
        if name == "hash" and path == PLACES_BY_HASH:
            continue
        if name in BANNED_IN_CORE | BANNED_CLOCKS:
            yield f"{path}:{call.lineno}: {name}() has no place in the core"
    for node in ast.walk(repository.tree(path)):
        if isinstance(node, ast.Global | ast.Nonlocal | ast.AsyncFunctionDef | ast.Await):
            yield f"{path}:{node.lineno}: {type(node).__name__} has no place in the core"


def _marked_real(decorators: Iterable[ast.expr]) -> bool:
    """Whether one of them is the mark `real`."""
    return any(repository.dotted(decorator).endswith("mark.real") for decorator in decorators)


def _real_parts(module: ast.Module) -> Iterator[ast.AST]:
    """What of a file runs on the wall clock: the whole file, classes or functions that are marked `real`."""
    for statement in module.body:
        if isinstance(statement, ast.Assign) and any(
            repository.dotted(target) == "pytestmark" for target in statement.targets
        ):
            value = statement.value
            marks = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
            if _marked_real(marks):
                yield module
                return
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _marked_real(
            node.decorator_list
        ):
            yield node


def _looped(part: ast.AST) -> set[ast.Call]:
    """The calls that stand inside a loop: a poll with a deadline waits a little between two looks."""
    loops = (node for node in ast.walk(part) if isinstance(node, ast.While | ast.For | ast.AsyncFor))
    return {call for loop in loops for call in ast.walk(loop) if isinstance(call, ast.Call)}


def fixed_sleeps(path: Path) -> Iterator[str]:
    """Waits of a fixed length on the wall clock. On virtual time they cost nothing and race nothing: they may stay."""
    if not in_tests(path) or repository.under(path, "tests/bench"):
        return  # a benchmark simulates slow disks
    module = repository.tree(path)
    for part in _real_parts(module):
        polls = _looped(part)
        for name, call in calls(part):
            fixed = bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value != 0
            if name in {"asyncio.sleep", "sleep"} and fixed and call not in polls:
                yield f"{path}:{call.lineno}: a fixed sleep; poll for what you are waiting for, with a deadline"
    polls = _looped(module)
    for name, call in calls(module):
        if name == "time.sleep" and call not in polls:
            yield f"{path}:{call.lineno}: a fixed sleep; poll for what you are waiting for, with a deadline"


def claimless_tests(path: Path) -> Iterator[str]:
    """Tests that do not say what they hold."""
    if not in_tests(path) or not path.name.startswith("test_"):
        return
    for function in functions(repository.tree(path)):
        if function.name.startswith("test_") and not ast.get_docstring(function):
            yield f"{path}:{function.lineno}: {function.name} has no docstring; state the claim it checks"


def mocks(path: Path) -> Iterator[str]:
    """Tests that replace a part of our own from behind instead of handing in a fake."""
    if in_tests(path) and any(
        name.split(".")[0] == "mock" or name == "unittest.mock" for name in repository.imported(repository.tree(path))
    ):
        yield f"{path}: mock; hand in a fake (tests/fakes.py)"


def leftovers(path: Path) -> Iterator[str]:
    """Notes to oneself; what is left to do is an issue."""
    for number, line in enumerate(repository.text(path).splitlines(), start=1):
        if path.name != "test_tidy.py" and any(word in line for word in ("TODO", "FIXME", "XXX:")):
            yield f"{path}:{number}: a leftover note: {line.strip()}"


RULES: tuple[Callable[[Path], Iterator[str]], ...] = (
    long_files, long_functions, vague_names, banned_in_core, fixed_sleeps, claimless_tests, mocks, leftovers,
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_python_file_keeps_the_rule(rule: Callable[[Path], Iterator[str]]) -> None:
    """No Python file of the project breaks the rule."""
    faults = [fault for path in repository.python_files() for fault in rule(path)]
    assert not faults, listing(faults)


POLL = "@pytest.mark.real\nasync def test_x():\n    while 1:\n        await asyncio.sleep(0.1)\n"
MARKED_FILE = "pytestmark = [pytest.mark.real]\nasync def test_x():\n    await asyncio.sleep(0.1)\n"

BREAKS = [
    (long_files, "daemon/x.py", "pass\n" * (FILE_LINES_MAX + 1)),
    (long_functions, "daemon/x.py", "def f():\n" + "    pass\n" * FUNCTION_LINES_MAX),
    (vague_names, "handlers/utils.py", ""),
    (vague_names, "handlers/common/alerts.py", ""),
    (banned_in_core, "daemon/core/x.py", "def f():\n    return hash('a')\n"),
    (banned_in_core, "daemon/core/x.py", "def f():\n    return datetime.now()\n"),
    (banned_in_core, "daemon/core/x.py", "async def f(): ...\n"),
    (fixed_sleeps, "tests/test_x.py", "@pytest.mark.real\nasync def test_x():\n    await asyncio.sleep(1)\n"),
    (fixed_sleeps, "tests/test_x.py", MARKED_FILE),
    (fixed_sleeps, "tests/test_x.py", "def test_x():\n    time.sleep(1)\n"),
    (claimless_tests, "tests/test_x.py", "def test_x():\n    assert True\n"),
    (mocks, "tests/test_x.py", "from unittest.mock import patch\n"),
    (leftovers, "daemon/x.py", "# TODO later\n"),
]

KEEPS = [
    (fixed_sleeps, "tests/test_x.py", "async def test_x():\n    await asyncio.sleep(3600)\n"),
    (fixed_sleeps, "tests/test_x.py", POLL),
    (banned_in_core, "daemon/runtime/x.py", "def f():\n    return open('a')\n"),
    (long_functions, "daemon/x.py", "def f():\n" + "    pass\n" * (FUNCTION_LINES_MAX - 1)),
]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Writes one file into a repository of its own, which the rules then look at."""

    def write(name: str, content: str) -> Path:
        target = tmp_path / name
        target.parent.mkdir(parents=True)
        target.write_text(content)
        return Path(name)

    monkeypatch.setattr(repository, "ROOT", tmp_path)
    repository.text.cache_clear()
    repository.tree.cache_clear()
    yield write
    repository.text.cache_clear()
    repository.tree.cache_clear()


@pytest.mark.parametrize(("rule", "name", "content"), BREAKS)
def test_each_rule_finds_what_breaks_it(
    written: Callable[[str, str], Path], rule: Callable[[Path], Iterator[str]], name: str, content: str
) -> None:
    """A rule that found nothing here would hold nothing."""
    assert list(rule(written(name, content)))


@pytest.mark.parametrize(("rule", "name", "content"), KEEPS)
def test_no_rule_finds_fault_with_what_is_allowed(
    written: Callable[[str, str], Path], rule: Callable[[Path], Iterator[str]], name: str, content: str
) -> None:
    """Virtual sleeps, polls, and the like outside the core are fine."""
    assert not list(rule(written(name, content)))
