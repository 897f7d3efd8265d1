"""The shape of the repository: what lies where, whose `daemon` is imported, and what the core may lean on."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
from pathlib import Path

import pytest

from tests import repository

# The owner fixed the folders; the rest is what tools and readers look for at the top.
TOP = set(
    """
    daemon handlers config deploy tests .ci pyproject.toml README.md LICENSE CHANGELOG.md CONTRIBUTING.md Makefile
    requirements.lock requirements-dev.lock
    .gitignore .dockerignore .editorconfig .gitattributes .pre-commit-config.yaml
    """.split()
)

# Data types and arithmetic; nothing that knows the time, draws lots, or reaches out of the process.
CORE_MAY_IMPORT = set(
    """
    __future__ abc bisect collections collections.abc copy dataclasses datetime decimal enum fnmatch fractions functools
    hashlib heapq itertools json math operator re statistics string textwrap types typing
    """.split()
)

CORE = [path for path in repository.python_files() if repository.under(path, "daemon/core")]
PACKAGES = ["daemon", "handlers", "config"]
PARTS_OF_PACKAGES = [
    "daemon/core",
    "daemon/runtime",
    "daemon/cli",
    "handlers/inbound",
    "handlers/outbound",
    "deploy/sandbox",
]


def test_the_top_level_holds_what_was_agreed_and_nothing_else() -> None:
    """The top level is fixed: three packages, deploy, tests, and the files that tools look for."""
    strangers = {path.parts[0] for path in repository.files()} - TOP
    assert not strangers, f"not agreed at the top level: {sorted(strangers)}"


@pytest.mark.parametrize("name", PACKAGES)
def test_our_packages_are_ours(name: str) -> None:
    """Other distributions bring a `daemon` or a `config` of their own; what is imported here is this repository's."""
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == repository.ROOT / name / "__init__.py"


def test_the_command_starts_the_daemon_package() -> None:
    """The installed command `lastgood` is daemon.__main__:main."""
    scripts = importlib.metadata.distribution("lastgood").entry_points.select(group="console_scripts")
    assert {script.name: script.value for script in scripts} == {"lastgood": "daemon.__main__:main"}


@pytest.mark.parametrize("name", [*PACKAGES, *PARTS_OF_PACKAGES, "deploy", "tests"])
def test_each_package_says_what_belongs_in_it(name: str) -> None:
    """The first thing in a package is what belongs there and what does not."""
    docstring = ast.get_docstring(repository.tree(Path(name) / "__init__.py"))
    assert docstring, f"{name}/__init__.py has no docstring"
    assert len(docstring.splitlines()) >= 3


@pytest.mark.parametrize("path", CORE, ids=str)
def test_the_core_imports_data_types_and_itself_only(path: Path) -> None:
    """A decision depends on its arguments alone, so that it can be replayed, explained and tested without a world."""
    strangers = {
        name
        for name in repository.imported(repository.tree(path))
        if name not in CORE_MAY_IMPORT and name.split(".")[:2] != ["daemon", "core"]
    }
    assert not strangers, f"{path} imports {sorted(strangers)}"


def test_documentation_for_users_lies_in_deploy_docs() -> None:
    """One place to look: pages in deploy/docs, the files at the top, a README where a folder needs one, and the
    benchmarks' results beside the benchmarks that write them.
    """
    pages = [path for path in repository.files() if path.suffix in {".md", ".rst"} and len(path.parts) > 1]
    elsewhere = [path for path in pages if not repository.under(path, "deploy/docs")]
    strangers = [path for path in elsewhere if path.name not in {"README.md", "RESULTS.md"}]
    assert not strangers, f"move to deploy/docs: {[str(path) for path in strangers]}"


def test_no_folder_of_the_packages_is_a_stray_namespace() -> None:
    """A folder without __init__.py is left out of import checks and may be shadowed by another distribution."""
    folders = {path.parent for path in repository.python_files() if path.parts[0] in {*PACKAGES, "deploy"}}
    strays = [folder for folder in folders if not (repository.ROOT / folder / "__init__.py").is_file()]
    assert not strays, f"no __init__.py in {sorted(map(str, strays))}"
