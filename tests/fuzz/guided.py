"""One parser under atheris, until the time is up or something breaks: `python -m tests.fuzz.guided NAME SECONDS FOLDER`.

A process of its own, because libFuzzer ends the one that it runs in. FOLDER gets the seeds, what is found on the way, and the
input that broke something (`crash-…`, `timeout-…`, `oom-…`).
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

INPUT_BYTES_MAX = 65_536
SECONDS_OF_ONE = 20
MEGABYTES_MAX = 2048
"""Of one input, and of the whole process: what takes more is a finding."""


def main(name: str, seconds: int, folder: Path) -> None:
    """Fuzz it; does not return."""
    import atheris

    with atheris.instrument_imports(include=["handlers", "config", "daemon"]):
        from tests.fuzz.targets import judge, named

        parser = named(name)
    _be_quiet()
    for number, seed in enumerate(parser.seeds):
        (folder / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        judge(parser, data)

    options: list[Any] = [
        sys.argv[0],
        str(folder),
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={SECONDS_OF_ONE}",
        f"-rss_limit_mb={MEGABYTES_MAX}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup(options, one)
    atheris.Fuzz()


def _be_quiet() -> None:
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
