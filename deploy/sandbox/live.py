"""What the audience of the demo sees: one line per step, with the moment and the reason."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.text import Text

_COLOURS = {
    "world": "dim",
    "rollout": "cyan",
    "outage": "red",
    "verified": "green",
    "verdict": "yellow",
    "proposed": "yellow",
    "rolling_back": "magenta",
    "verifying": "magenta",
    "recovered": "bold green",
    "escalated": "bold red",
    "superseded": "bold cyan",
    "dismissed": "dim",
    "page": "bold red",
}


class Live:
    """Prints steps; on a terminal in colour, elsewhere plainly."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._began

    def tell(self, what: str, text: str) -> None:
        """One step."""
        line = Text(f"{self.seconds:6.1f}s  ")
        line.append(f"{what:<13}", style=_COLOURS.get(what, ""))
        line.append(text)
        self._console.print(line)

    def tell_log(self, line: dict[str, Any]) -> None:
        """A line of the daemon's log, where it is a step of the story."""
        match line.get("event"):
            case "ready":
                self.tell("daemon", "is ready: its journal is writable, its caches are synced")
            case "revision":
                what = str(line.get("what"))
                self.tell(
                    what, f"{line.get('lastgood.workload')} {line.get('revision')}: {line.get('because') or 'soaked'}"
                )
            case "verdict":
                self._verdict(line)
            case "incident_moved":
                to = f" → {line['target']}" if line.get("target") else ""
                self.tell(str(line.get("phase")), f"{line.get('because')}{to}")
            case "incident":
                self.tell(str(line.get("phase")), f"{line.get('lastgood.incident')}: {line.get('because')}")
            case "action_retried" | "configuration_refused" | "cannot_start" | "part_ended" | "runner_failed":
                self.tell("daemon", f"{line.get('event')}: {line.get('error') or line.get('action')}")
            case _:
                pass

    def _verdict(self, line: dict[str, Any]) -> None:
        self.tell("verdict", f"{line.get('verdict')}: {line.get('because')} (score {line.get('score')})")
        for sentence in line.get("evidence") or ():
            self.tell("", f"  evidence: {sentence}")
        for sentence in line.get("refusals") or ():
            self.tell("", f"  refusal:  {sentence}")
