"""Exit codes, and the one kind of exception that ends a command with one line on stderr."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a script may rely on."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNAUTHORISED = 4
    CONFIGURATION = 5
    BUG = 70
    INTERRUPTED = 130


MEANINGS = """exit codes:
  0    done, or the answer is yes
  1    refused, or the answer is no: there is no such thing, the daemon is not
       ready (status), no revision is verified (verified), there is not enough
       history to arm it (scorecard of a workload), something is missing
       (preflight, check-access), a journal is in use, not empty or not good
       (journal), do not roll out now (gate: nothing else gives 1 there); for
       `run`: a part of the daemon failed
  2    the command is written wrongly
  3    the daemon cannot be reached, or cannot keep a command now; for
       check-access the API server, for record and backtest Prometheus, for
       journal its database
  4    not authorised: no or wrong token, or no permission on the socket
  5    the configuration is bad
  70   a bug in lastgood
  130  interrupted from the keyboard"""


class CliError(Exception):
    """Ends the command: `str()` is the one line, with its remedy."""

    def __init__(self, code: Exit, what: str, remedy: str) -> None:
        self.code = code
        super().__init__(f"{what}; {remedy}" if remedy else what)
