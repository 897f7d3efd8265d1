"""The state folder belongs to one daemon at a time: two on one journal would both act. Part of the composition root."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


class StartError(Exception):
    """The daemon cannot start; one line with the remedy."""


def only_one(folder: Path) -> IO[str]:
    """Hold the state folder: two daemons on one journal would both act. Raises StartError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = (folder / "lock").open("a+")  # held as long as the daemon lives; the holder's number is not ours to wipe
    except OSError as error:
        raise StartError(f"state_dir {folder} cannot be used: {error.strerror}; create it or name another") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise StartError(f"another lastgood runs on state_dir {folder}; stop it or name another folder") from None
    held.truncate(0)
    held.write(f"{os.getpid()}\n")
    held.flush()
    return held
