"""Kills the process groups it was told of when whoever started it is gone, however that came: also by SIGKILL.

It reads `+PID` and `-PID` from its standard input, one a line. The end of the input is the end of its parent. Started as
a script, without site packages: it must be up before the first server is.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Remembers groups until the input ends, then kills those that are left."""
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself


if __name__ == "__main__":
    main()
