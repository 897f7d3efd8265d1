"""`make bench-blame` draws its picture and fills its page, the same at every run; a trial leaves what is shown alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import documents
from tests.bench import blame_table
from tests.bench.blame_page import BEGIN, END, NOT_YET, with_figures
from tests.bench.blame_run import NAMES
from tests.repository import ROOT

PAGE = documents.read("deploy/docs/blame.md")


def run(folder: Path, *words: str) -> tuple[str, str]:
    """Picture and page after a run over two seeds."""
    folder.mkdir(parents=True)
    svg, page = folder / "blame.svg", folder / "blame.md"
    page.write_text(PAGE)
    options = ["--seeds", "1-2", "--svg", str(svg), "--page", str(page), *words]
    assert blame_table.main(options) == 0
    return svg.read_text(), page.read_text()


@pytest.mark.real
def test_it_is_drawn_and_written_and_the_same_again(tmp_path: Path) -> None:
    """A bar of each method, and in the page its row, the bar's lines and the picture; in one process or in two."""
    svg, page = run(tmp_path / "a", "--jobs", "1")
    assert run(tmp_path / "b", "--jobs", "2") == (svg, page)
    names = [each.text for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert set(NAMES) <= set(names)
    assert {row[0] for row in documents.table(page, "method")} == set(NAMES)
    assert len(documents.table(page, "demand")) == 9
    assert "](blame.svg)" in page
    assert "2 generated recordings (report half, rough world, seeds 1-2)" in page
    begin, end = BEGIN.format("rough"), END.format("rough")
    assert page.partition(begin)[0] == PAGE.partition(begin)[0]
    assert page.partition(end)[2] == PAGE.partition(end)[2]


@pytest.mark.real
def test_the_tidy_world_has_a_section_of_its_own(tmp_path: Path) -> None:
    """Methods and demands, without a picture; what is written of the rough world stays."""
    _, page = run(tmp_path / "a", "--world", "tidy")
    first, last = BEGIN.format("tidy"), END.format("tidy")
    section = page.partition(first)[2].partition(last)[0]
    assert "2 generated recordings (report half, tidy world, seeds 1-2)" in section
    assert {row[0] for row in documents.table(section, "method")} == set(NAMES)
    assert len(documents.table(section, "demand")) == 9
    assert (page.partition(first)[0], page.partition(last)[2]) == (PAGE.partition(first)[0], PAGE.partition(last)[2])


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), True),
        (("--seeds", "0-999"), True),
        (("--world", "tidy"), True),
        (("--seeds", "0-19"), False),
        (("--half", "tune"), False),
        (("--only", "lastgood"), False),
    ],
)
def test_a_trial_leaves_what_is_shown_alone(words: Sequence[str], shown: bool) -> None:
    """Only what was not tuned on, with all methods and no fewer seeds than usual, goes into the repository."""
    assert blame_table.published(blame_table.arguments().parse_args(words)) is shown


def test_a_page_without_its_marks_is_refused() -> None:
    """Nothing is written where it does not belong."""
    begin, end = BEGIN.format("rough"), END.format("rough")
    others = BEGIN.format("tidy") + END.format("tidy")
    for broken in ("", begin, end, end + begin, begin + begin + end, begin + end + end, others):
        with pytest.raises(ValueError, match="the page needs one line"):
            with_figures(broken, "rough", "")


def test_its_tables_are_about_lastgood() -> None:
    """--page without Lastgood among the methods is refused before anything is played."""
    with pytest.raises(SystemExit, match="--page: its tables are about Lastgood"):
        blame_table.main(["--only", "cusum", "--page", "x"])


def test_the_page_holds_what_was_measured_or_says_that_nothing_was() -> None:
    """Of either world all methods have their row, and the picture is there, or the page says so."""
    for world in ("rough", "tidy"):
        written = PAGE.partition(BEGIN.format(world))[2].partition(END.format(world))[0]
        assert NOT_YET in written or {row[0] for row in documents.table(written, "method")} == set(NAMES)
    if NOT_YET not in PAGE:
        assert (ROOT / "tests/bench/blame.svg").exists()


def test_the_page_says_how_it_is_made() -> None:
    """Its commands are understood, and it names every recipe, and no other."""
    for command in documents.commands(PAGE):
        target, *given = shlex.split(command.removeprefix("make "))
        assert target == "bench-blame"
        blame_table.arguments().parse_args(shlex.split(given[0].removeprefix("ARGS=")) if given else [])
    (recipes,) = re.findall(r"^- \*\*Recipes\*\* (.*?)\. A name", PAGE, re.MULTILINE | re.DOTALL)
    made = {path.stem for path in (ROOT / "tests/bench/recordings/recipes").glob("[a-z]*.py")}
    assert set(re.findall(r"`(\w+)`", recipes)) == made
