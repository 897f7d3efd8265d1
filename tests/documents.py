"""Reading our Markdown: code blocks, tables and links, so that tests can hold a document to what it says."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.repository import ROOT

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<target>[^)\s#]+)(?:#[^)]*)?\)")
_SEPARATOR = re.compile(r"[|:\- ]+")


def read(path: str) -> str:
    """One document, by its path from the repository's root."""
    return (ROOT / path).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced code block without its indentation; `line` is the number of its first line in the document."""

    language: str
    body: str
    line: int


def blocks(text: str, language: str) -> list[Block]:
    """The document's code blocks in one language, in order."""
    return [
        Block(
            language=language,
            body=textwrap.dedent(found["body"]),
            line=text.count("\n", 0, found.start("body")) + 1,
        )
        for found in _BLOCK.finditer(text)
        if found["language"] == language
    ]


def commands(text: str) -> list[str]:
    """Every command of the document's `sh` blocks, in order; comments are none."""
    return [
        line
        for block in blocks(text, "sh")
        for line in block.body.replace("\\\n", " ").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def table(text: str, first_column: str) -> list[list[str]]:
    """The rows of the table whose header begins with this name; cells as they are written."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {first_column} |"):
            return list(_rows(lines))
    raise AssertionError(f"there is no table that begins with the column {first_column!r}")


def _rows(lines: Iterator[str]) -> Iterator[list[str]]:
    for line in lines:
        if not line.startswith("|"):
            return
        if not _SEPARATOR.fullmatch(line):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def broken_links(path: str) -> list[str]:
    """Links of a document to files of the repository that are not there."""
    folder = (ROOT / path).parent
    targets = [found["target"] for found in _LINK.finditer(read(path))]
    return [target for target in targets if "://" not in target and not _exists(folder / target)]


def _exists(path: Path) -> bool:
    return path.resolve().is_relative_to(ROOT) and path.exists()
