"""`lastgood` and `python -m daemon`: make sure that our packages are ours, then hand over to the command line."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("handlers", "config")
"""Names short enough that others have them too (the index holds a `config`, and python-daemon's `daemon`)."""


def main() -> int:
    """Run the command line; the exit code."""
    stranger = _stranger()
    if stranger is not None:
        remedy = "install lastgood into a virtual environment of its own"
        print(f"lastgood: {stranger} is another program's package; {remedy}", file=sys.stderr)  # noqa: T201
        return 70
    from daemon.cli.commands import main as command_line

    return command_line()


def _stranger() -> str | None:
    """The place of a package that belongs to another installation than this file, None where all are ours."""
    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if origin is None or origin.parent.parent != home:
            return f"{name} ({origin.parent if origin else 'not found'})"
    return None


if __name__ == "__main__":
    sys.exit(main())
