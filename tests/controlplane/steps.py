"""Build steps: one command each, with a limit, a log, and one line that says how long it took."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOG_LINES_SHOWN = 8
"""The end of a failed command's output that an error carries; the file has the rest."""


class BuildError(Exception):
    """A control plane could not be built; the text is one line with the remedy, the log's end follows it."""


def say(text: str) -> None:
    """One line of progress, seen at once."""
    print(f"controlplane: {text}", flush=True)  # noqa: T201 -- people wait for it


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Runs commands one after the other. Their output goes to `log`, which is kept when one fails."""

    log: Path
    environment: Mapping[str, str]

    def run(self, what: str, command: Sequence[str | Path], *, folder: Path, seconds: float, remedy: str) -> None:
        """One command in `folder`, at most `seconds`; BuildError with `remedy` when it fails or is not there."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            log.write(f"--- {what}: {' '.join(map(str, command))}\n".encode())
            log.flush()
            try:
                code = subprocess.run(
                    list(command), cwd=folder, env=dict(self.environment), timeout=seconds, check=False,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                ).returncode  # fmt: skip
                failed = f"exit code {code}" if code else ""
            except subprocess.TimeoutExpired:
                failed = f"not done after {seconds:g} s"
            except OSError as error:
                failed = str(error)
        if failed:
            raise BuildError(f"{what} failed ({failed}); {remedy}; log: {self.log}\n{self._end()}")
        say(f"{what} ({time.monotonic() - began:.0f} s)")

    def _end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join(f"    {line[:200]}" for line in lines)
