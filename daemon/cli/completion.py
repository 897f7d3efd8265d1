"""Completion scripts for shells, made from the grammar itself, so that none can be out of date."""

from __future__ import annotations

import argparse
from pathlib import Path

import shtab

from daemon.cli.arguments import parser


def script(shell: str) -> str:
    """What the shell (one of SHELLS) reads to complete `lastgood`; options that take a path complete files."""
    main = parser()
    _complete_files(main)
    return f"{shtab.complete(main, shell)}\n"


def _complete_files(grammar: argparse.ArgumentParser) -> None:
    # argparse has no public way to look at a parser; shtab reads the same attributes.
    for action in grammar._actions:  # noqa: SLF001
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each in action.choices.values():
                _complete_files(each)
