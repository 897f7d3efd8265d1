"""Somebody types commands against a daemon's socket, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.cli import commands
from tests.handlers.people import Daemon


@dataclass
class Typed:
    """What came of one command line."""

    code: int
    out: str
    err: str


@dataclass
class Desk:
    """A daemon in a story, and somebody who types."""

    daemon: Daemon
    address: str
    socket: Path
    captured: pytest.CaptureFixture[str]

    async def types(self, *words: str) -> Typed:
        """The answer through the daemon's socket."""
        return await self.types_exactly("--socket", str(self.socket), *words)

    async def types_exactly(self, *words: str) -> Typed:
        """The answer, wherever the words and the environment say."""
        code = await asyncio.to_thread(exit_code, lambda: commands.main(words))
        out, err = self.captured.readouterr()
        return Typed(code, out, err)


def exit_code(run: Callable[[], int]) -> int:
    """The code, also where argparse leaves by itself."""
    try:
        return run()
    except SystemExit as left:
        return int(left.code or 0)


def one_line(text: str) -> str:
    """The one line on stderr, which must hold a remedy."""
    assert text.startswith("lastgood: ")
    assert text.count("\n") == 1
    assert ";" in text
    return text
