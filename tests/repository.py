"""What the repository holds, for the tests that look at its own text: files as git sees them, Python files as trees."""

from __future__ import annotations

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file of the project, relative to its root: tracked, or new and not ignored (it will be tracked soon)."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    paths = {Path(name) for name in listed.stdout.split("\0") if name}
    return tuple(sorted(path for path in paths if (ROOT / path).is_file()))


@functools.cache
def python_files() -> tuple[Path, ...]:
    """Every Python file of the project, relative to its root."""
    return tuple(path for path in files() if path.suffix == ".py")


@functools.cache
def text(path: Path) -> str:
    """The content of one file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one Python file of the project."""
    return ast.parse(text(path), filename=str(path))


def under(path: Path, folder: str) -> bool:
    """Whether the file lies in the folder, at any depth."""
    return path.is_relative_to(folder)


def dotted(node: ast.expr) -> str:
    """`a.b.c` as it is written; empty for what is not a plain dotted name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{head}.{attr}" if (head := dotted(value)) else ""
        case _:
            return ""


def imported(module: ast.Module) -> set[str]:
    """Full names of the modules that are imported anywhere in a file, inside functions as well."""
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names
