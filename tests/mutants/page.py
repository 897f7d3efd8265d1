"""The table in deploy/docs/mutants.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.mutants.planted import MUTANTS

PAGE = Path(__file__).resolve().parents[2] / "deploy/docs/mutants.md"
BEGIN, END = "<!-- written by make mutants -->", "<!-- end of what make mutants writes -->"


def write(caught: Mapping[str, str | None]) -> None:
    """Lay the table anew between its two marks."""
    rows = [f"| `{mutant.name}` | {mutant.why} | `{mutant.file}` | `{caught[mutant.name]}` |" for mutant in MUTANTS]
    table = "\n".join(["| bug | what it would do | planted in | caught by |", "|---|---|---|---|", *rows])
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    PAGE.write_text(f"{head}\n\n{table}\n\n{tail}", encoding="utf-8")
