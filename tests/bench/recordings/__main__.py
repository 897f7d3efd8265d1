"""Writes recordings to files: `python -m tests.bench.recordings --half tune --seeds 1-50 --out FOLDER`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from handlers.backtest.recording import written
from tests.bench.recordings.cases import cases


def seeds(text: str) -> range:
    """`FIRST-LAST`, both included, or one number."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds; write FIRST-LAST, such as 1-50")
    first = int(found[1])
    return range(first, int(found[2] or first) + 1)


def main(arguments: list[str] | None = None) -> None:
    """Run as the module says."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recordings", description=__doc__)
    parser.add_argument("--half", choices=("tune", "report"), required=True)
    parser.add_argument("--seeds", type=seeds, required=True, metavar="FIRST-LAST")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    lines = 0
    for count, case in enumerate(cases(chosen.half, chosen.seeds), start=1):
        with (chosen.out / f"{case.name}.jsonl").open("wb") as file:
            file.writelines(map(written, case.records))
        lines += len(case.records)
        sys.stderr.write(f"\r{count} of {len(chosen.seeds)} recordings, {lines} lines")
        sys.stderr.flush()
    sys.stderr.write("\n")


if __name__ == "__main__":
    main()
