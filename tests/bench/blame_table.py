"""`make bench-blame`: Lastgood and what it is compared with on the same generated recordings, and whether the bar is met.

Tune on `--half tune`; what is reported comes from recipes and ranges that were not tuned on. Run it as
`python -m tests.bench.blame_table`; `--help` lists the options.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from handlers.backtest.score import Summary
from tests.bench import blame_chart, blame_page, blame_report
from tests.bench.blame_run import LASTGOOD, NAMES, Job, Played, run

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "tests/bench/blame.svg"
PAGE = ROOT / "deploy/docs/blame.md"
SEEDS = range(200)
LASTGOODS_TABLES = (
    blame_report.kinds_table,
    blame_report.recipes_table,
    blame_report.confounders_table,
    blame_report.misses_table,
    blame_report.false_table,
)

PUBLISHED_TABLES = (blame_report.kinds_table, blame_report.recipes_table, blame_report.confounders_table)


def say(text: str) -> None:
    """A line for people, on stdout."""
    sys.stdout.write(f"{text}\n")


def main(given: Sequence[str] | None = None) -> int:
    """Run, print, draw; 0 even where the bar is not met: the table says so."""
    options = arguments().parse_args(given)
    names = tuple(name for name in NAMES if not options.only or any(part in name.lower() for part in options.only))
    if not names:
        sys.exit(f"--only: none of these is in a method's name; there are: {', '.join(NAMES)}")
    if options.page is not None and LASTGOOD not in names:
        sys.exit(f"--page: its tables are about {LASTGOOD}; leave --only out, or name it there, too")
    if options.write is not None:
        options.write.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(half=options.half, seed=seed, names=names, folder=options.write, world=options.world)
        for seed in options.seeds
    ]
    played = run(jobs, options.jobs)
    if not played:
        sys.exit("--seeds: the generator made no recording of these")
    found = blame_report.scores(played)
    note = (
        f"{len(played)} generated recordings ({options.half} half, {options.world} world, "
        f"seeds {options.seeds.start}-{options.seeds.stop - 1}), "
        f"{next(iter(found.values())).rollouts} rollouts; 95 % intervals"
    )
    say(f"{note}\n\n{blame_report.methods_table(found)}")
    if LASTGOOD in found:
        for told in LASTGOODS_TABLES:
            say(f"\n{told(played)}")
        say(f"\n{blame_report.demands_table(blame_report.demands(found))}")
    if options.wrong and LASTGOOD in found:
        for line in blame_report.wrong(played):
            say(line)
    _show(options, played, found, note)
    return 0


def _show(options: argparse.Namespace, played: Sequence[Played], found: Mapping[str, Summary], note: str) -> None:
    """Draw, and write the tables into the page, where that was asked for or the run is one to be shown.

    Of the tidy world the page has the methods and the demands alone: the picture and the rest are of the rough one.
    """
    shown, rough = published(options), options.world == "rough"
    svg, page = options.svg or (CHART if shown and rough else None), options.page or (PAGE if shown else None)
    if svg is not None:
        svg.write_text(blame_chart.drawn({name: each.f1 for name, each in found.items()}, LASTGOOD, note))
        say(f"\ndrawn: {svg}")
    if page is not None:
        tables = [blame_report.methods_table(found), blame_report.demands_table(blame_report.demands(found))]
        tables += [told(played) for told in PUBLISHED_TABLES if rough]
        figures = blame_page.figures(note, svg or (CHART if rough else None), page, tables)
        page.write_text(blame_page.with_figures(page.read_text(), options.world, figures))
        say(f"written: {page}")


def published(options: argparse.Namespace) -> bool:
    """Whether the run is one to be shown: what was not tuned on, all methods, and no fewer seeds than usual."""
    return options.half == "report" and not options.only and len(options.seeds) >= len(SEEDS)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="blame_table", description=__doc__)
    parser.add_argument("--half", choices=("tune", "report"), default="report", help="which recipes and ranges")
    parser.add_argument(
        "--world", choices=("rough", "tidy"), default="rough", help="rough, or tidy as the demo that others measured on"
    )
    parser.add_argument("--seeds", type=_seeds, default=SEEDS, metavar="A-B", help="both included (default 0-199)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument("--only", type=str.lower, action="append", metavar="METHOD", help="a part of a method's name")
    parser.add_argument("--wrong", action="store_true", help="list the cases that Lastgood got wrong, with evidence")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write the recordings there, too")
    shown = "without: only a run of the report half with all methods and no fewer seeds than usual does, into"
    parser.add_argument("--svg", type=Path, metavar="FILE", help=f"draw it there; {shown} {CHART.relative_to(ROOT)}")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help=f"write the tables into this page; {shown} {PAGE.relative_to(ROOT)}"
    )
    return parser


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text}: give the first and the last seed, as in 0-99")
    return seeds


if __name__ == "__main__":
    sys.exit(main())
