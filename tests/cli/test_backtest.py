"""`lastgood backtest`: what it prints, what it closes with, and how it fails."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from config.sources import RESERVED
from daemon.cli import commands
from daemon.cli.exits import Exit
from handlers.backtest.recording import Record, written
from tests.backtest import past_world as world
from tests.backtest.filled_prometheus import filled_with
from tests.backtest.openmetrics import text_of
from tests.backtest.replay_cases import GOOD, MINUTE, WEB, Shop
from tests.cli.desk import Typed, exit_code, one_line

pytestmark = pytest.mark.looptime(False)

KEYS = ["at", "recording", "verdict", "workload", "score", "margin", "reason", "evidence", "would_refuse"]
"""Of one line, as issue 5 has them."""

VERDICTS = {"roll_back", "propose", "hold", "escalate", "dismiss"}


class Desk:
    """Somebody who types `lastgood backtest …`; no daemon is needed."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._captured = captured

    def types(self, *words: object) -> Typed:
        """The answer."""
        code = exit_code(lambda: commands.main(["backtest", *map(str, words)]))
        return Typed(code, *self._captured.readouterr())

    def file(self, name: str, records: list[Record]) -> Path:
        """A recording of these."""
        path = self.folder / name
        path.write_bytes(b"".join(written(each) for each in records))
        return path

    def policy(self, name: str, **policy: object) -> Path:
        """A configuration."""
        path = self.folder / name
        path.write_text(yaml.safe_dump({"cluster": "test", "policy": policy}))
        return path


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path, capsys)


@pytest.fixture
def bad(desk: Desk) -> Path:
    """A recording in which web rolls out badly."""
    return desk.file("bad.jsonl", Shop().records())


def documents(found: Typed) -> list[dict[str, object]]:
    """Each line of standard output."""
    return [json.loads(line) for line in found.out.splitlines()]


def test_a_line_per_verdict_with_the_keys_of_the_format(desk: Desk, bad: Path) -> None:
    """In this order and no other key; `at` in UTC with whole seconds; evidence and refusals as objects; nothing on stderr."""
    placebo = desk.file("placebo.jsonl", Shop(errors=GOOD, culprit=None).records())
    found = desk.types(bad, placebo)
    assert (found.code, found.err) == (Exit.OK, "")
    lines = documents(found)
    assert all(list(each) == KEYS for each in lines)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(each["at"])) for each in lines)
    assert {str(each["verdict"]) for each in lines} <= VERDICTS
    assert [each["recording"] for each in lines] == sorted(str(each["recording"]) for each in lines)
    acted = [each for each in lines if each["verdict"] == "roll_back"]
    assert [(each["recording"], each["workload"], each["reason"]) for each in acted] == [
        ("bad.jsonl", WEB, "BLAMED_CONTRAST")
    ]
    terms: list[dict[str, object]] = acted[0]["evidence"]  # type: ignore[assignment]
    assert {tuple(each) for each in terms} == {("term", "value", "threshold", "weight", "says")}
    refused = [each for line in lines for each in line["would_refuse"]]  # type: ignore[attr-defined]
    assert {tuple(each) for each in refused} == {("reason", "seen", "needed")}


def test_offsets_are_told_in_utc(desk: Desk, bad: Path) -> None:
    """The same moments written with another offset give the same lines."""
    text = bad.read_text()
    shifted = re.sub(r"2026-03-04T12:(\d\d:\d\d)Z", r"2026-03-04T17:\1+05:00", text)
    assert shifted != text
    wanted = desk.types(bad).out
    bad.write_text(shifted)
    assert desk.types(bad).out == wanted


def test_it_closes_with_one_score(desk: Desk, bad: Path) -> None:
    """After the verdicts of all recordings, one object."""
    placebo = desk.file("placebo.jsonl", Shop(errors=GOOD, culprit=None).records())
    found = desk.types(bad, placebo, "--score")
    *verdicts, last = documents(found)
    assert found.code == Exit.OK
    assert all(list(each) == KEYS for each in verdicts)
    assert list(last) == ["summary"]
    summary: dict[str, object] = last["summary"]  # type: ignore[assignment]
    wanted = {"recordings": 2, "rollouts": 2, "healthy_rollouts": 1, "culprits": 1, "precision": 1.0, "recall": 1.0}
    assert {name: summary[name] for name in wanted} == wanted
    assert summary["false_rollbacks_per_1000"] == 0.0
    assert {"f1", "top_1", "decision_delay_seconds", "decision_delay_samples"} <= set(summary)


def test_a_folder_is_its_recordings_in_the_order_of_their_names(desk: Desk) -> None:
    """Of a folder those that end in .jsonl; a folder without any is a mistake."""
    folder = desk.folder / "recordings"
    folder.mkdir()
    found = desk.types(folder)
    assert found.code == Exit.USAGE
    assert ".jsonl" in one_line(found.err)
    for name in ("b.jsonl", "a.jsonl"):
        (folder / name).write_bytes(b"".join(written(each) for each in Shop(minutes=40).records()))
    (folder / "README.md").write_text("not a recording")
    names = [each["recording"] for each in documents(desk.types(folder))]
    assert names == sorted(names, key=str)
    assert set(names) == {"a.jsonl", "b.jsonl"}


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_an_empty_answer(desk: Desk, content: str) -> None:
    """Nothing on standard output, a word on standard error, and no failure; the score has nothing to divide."""
    path = desk.folder / "empty.jsonl"
    path.write_text(content)
    found = desk.types(path)
    assert (found.code, found.out) == (Exit.OK, "")
    assert found.err == "lastgood: empty.jsonl: nothing is recorded in it\n"
    (last,) = documents(desk.types(path, "--score"))
    summary: dict[str, object] = last["summary"]  # type: ignore[assignment]
    assert (summary["recordings"], summary["precision"]) == (0, None)


def test_lines_out_of_order_are_sorted_and_said(desk: Desk) -> None:
    """The verdicts are those of the sorted recording."""
    records = Shop().records()
    wanted = desk.types(desk.file("shop.jsonl", records)).out
    found = desk.types(desk.file("shop.jsonl", [*records[200:], *records[:200]]))
    assert (found.code, found.out) == (Exit.OK, wanted)
    assert found.err == "lastgood: shop.jsonl: 1 line(s) out of order, sorted by `at`\n"


def test_a_bad_line_is_one_line_with_a_remedy(desk: Desk, bad: Path) -> None:
    """File, line and field; exit code 2; what came before it in the file is not told."""
    lines = bad.read_text().splitlines()
    lines[41] = lines[41].replace('"at":"2026', '"at":"once, in 2026')
    bad.write_text("\n".join(lines))
    found = desk.types(bad)
    assert (found.code, found.out) == (Exit.USAGE, "")
    said = one_line(found.err)
    assert f"{bad}:42: " in said
    assert "`$.at`; deploy/docs/recordings.md has the format" in said


def test_a_bad_line_cannot_write_to_the_terminal(desk: Desk) -> None:
    """What a recording holds is not obeyed by whoever reads the error."""
    path = desk.folder / "evil.jsonl"
    path.write_text('{"at": "2026-03-04T12:00:00Z", "kind": "x\\u001b[31m\\u202e"}')
    assert one_line(desk.types(path).err).isascii()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), Exit.USAGE, "name either recordings or a Prometheus"),
        (("none.jsonl",), Exit.USAGE, "none.jsonl: No such file"),
        (("x.jsonl", "--prometheus", "http://127.0.0.1:1"), Exit.USAGE, "name either"),
        (("--prometheus", "127.0.0.1"), Exit.USAGE, "no address"),
        (("--prometheus", "http://127.0.0.1:1"), Exit.UNREACHABLE, "Prometheus"),
        (("--prometheus", "http://127.0.0.1:1", "--from", "soon"), Exit.USAGE, "--from"),
    ],
)
def test_how_it_fails(desk: Desk, words: tuple[str, ...], code: Exit, says: str) -> None:
    """One line with a remedy, and a code that a script can read."""
    found = desk.types(*words)
    assert (found.code, found.out) == (code, "")
    assert says in one_line(found.err)


def test_a_bad_policy_is_named(desk: Desk, bad: Path) -> None:
    """Exit code 5, before anything is replayed."""
    path = desk.policy("policy.yaml", default_mode="brave")
    found = desk.types(bad, "--policy", path)
    assert (found.code, found.out) == (Exit.CONFIGURATION, "")
    assert "check-config" in one_line(found.err)


def test_policies_are_compared_on_the_same_history(desk: Desk, bad: Path) -> None:
    """Each line and each score says whose it is; without a policy it is judged as `auto` with countdown 0."""
    observe, patient = desk.policy("observe.yaml"), desk.policy("auto.yaml", default_mode="auto", countdown="2m")
    found = desk.types(bad, "--policy", observe, "--policy", patient, "--score")
    lines = documents(found)
    assert found.code == Exit.OK
    assert all(list(each) in ([*KEYS, "policy"], ["summary", "policy"]) for each in lines)
    scores = {str(each["policy"]): each["summary"] for each in lines if "summary" in each}
    assert list(scores) == ["default", str(observe), str(patient)]
    recall = {name: summary["recall"] for name, summary in scores.items()}  # type: ignore[index]
    assert recall == {"default": 1.0, str(observe): 0.0, str(patient): 1.0}
    acted = {each["policy"]: each["at"] for each in lines if each.get("verdict") == "roll_back"}
    assert str(acted[str(patient)]) > str(acted["default"])
    refused = [each["would_refuse"] for each in lines if each.get("policy") == str(observe) and "verdict" in each]
    assert any(each["reason"] == "MODE_OBSERVE" for refusals in refused for each in refusals)  # type: ignore[attr-defined]


def test_the_page_is_written(desk: Desk, bad: Path) -> None:
    """One file with a plot per verdict, beside the same lines."""
    page = desk.folder / "page.html"
    found = desk.types(bad, "--html", page)
    text = page.read_text()
    assert (found.code, found.out) == (Exit.OK, desk.types(bad).out)
    assert text.count("<svg") == len(documents(found)) > 0
    assert WEB in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("none/page.html", "none/page.html: there is no folder"),
        (".", "it is a folder"),
        ("bad.jsonl/page.html", "no folder"),
    ],
)
def test_a_page_that_cannot_be_written_is_named_before_anything_is_replayed(
    desk: Desk, bad: Path, page: str, said: str
) -> None:
    """A month may take minutes: one line with the remedy at once, and not a verdict."""
    failed = desk.types(bad, "--html", desk.folder / page)
    assert (failed.code, failed.out) == (Exit.USAGE, "")
    assert said in one_line(failed.err)


def test_a_page_in_a_folder_that_may_only_be_read_is_named_at_once(desk: Desk, bad: Path) -> None:
    """So is a file that is there and may not be changed."""
    for page in _locked(desk.folder):
        failed = desk.types(bad, "--html", page)
        assert (failed.code, failed.out) == (Exit.USAGE, "")
        assert "it may not be written" in one_line(failed.err)


def _locked(folder: Path) -> tuple[Path, Path]:
    """A page in a locked folder, and a locked page. Root may write in every folder but those that the kernel makes."""
    if os.geteuid() == 0:
        return Path("/proc/sys/page.html"), Path("/proc/sys/kernel/ostype")
    locked, page = folder / "locked", folder / "page.html"
    locked.mkdir(mode=0o500)
    page.write_text("mine")
    page.chmod(0o400)
    return locked / page.name, page


def test_a_page_for_which_there_is_no_room_is_named_at_the_end(desk: Desk, bad: Path) -> None:
    """What nobody can know beforehand: the verdicts are told all the same."""
    failed = desk.types(bad, "--html", "/dev/full")
    assert failed.code == Exit.USAGE
    assert failed.out == desk.types(bad).out
    assert "--html /dev/full: No space left on device" in one_line(failed.err)


def test_the_page_says_whose_verdict_it_is(desk: Desk, bad: Path) -> None:
    """Of which recording each is; and of several policies which one, the shipped one left out."""
    page, one, other = (
        desk.folder / "page.html",
        desk.policy("one.yaml"),
        desk.policy("other.yaml", default_mode="auto"),
    )
    desk.types(bad, "--html", page)
    assert "bad.jsonl: revision new, replaces old" in page.read_text()
    alone = documents(desk.types(bad, "--policy", other, "--html", page))
    assert page.read_text().count("<svg") == sum(each["policy"] == str(other) for each in alone)
    both = documents(desk.types(bad, "--policy", one, "--policy", other, "--html", page))
    assert page.read_text().count("<svg") == sum(each["policy"] != "default" for each in both)
    for path in (one, other):
        assert f"bad.jsonl by {path}: revision new" in page.read_text()


def test_a_name_that_a_terminal_obeys_is_shown_plainly(desk: Desk) -> None:
    """Also in the word about lines out of order."""
    records = Shop(minutes=32).records()
    found = desk.types(desk.file("a\x1b[31m.jsonl", [*records[5:], *records[:5]]))
    assert found.code == Exit.OK
    assert "\x1b" not in found.err
    assert "\x1b" not in found.out


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with filled_with(text_of(world.planted(), world.STEP), tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@pytest.mark.real
def test_straight_from_a_prometheus(desk: Desk, prometheus: str) -> None:
    """The planted bad rollout is rolled back and the healthy one is not; stderr says how far it is; the page is written."""
    span = ("--from", f"{world.START:%Y-%m-%dT%H:%M:%SZ}", "--to", f"{world.END:%Y-%m-%dT%H:%M:%SZ}")
    page = desk.folder / "page.html"
    found = desk.types("--prometheus", prometheus, *span, "--html", page)
    acted = [each["workload"] for each in documents(found) if each["verdict"] == "roll_back"]
    assert found.code == Exit.OK
    assert world.WEB in acted
    assert world.API not in acted
    assert "100 % read" in found.err
    assert "<svg" in page.read_text()
    first = next(each for each in documents(found) if each["verdict"] == "roll_back" and each["workload"] == world.WEB)
    assert f"{world.BAD_AT:%Y-%m-%dT%H:%M:%SZ}" < str(first["at"]) < f"{world.BAD_AT + 10 * MINUTE:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.real
def test_a_time_that_prometheus_does_not_hold(desk: Desk, prometheus: str) -> None:
    """A plain no, exit code 1, with what is needed; a time that it holds has no truth, and the score says so."""
    found = desk.types("--prometheus", prometheus, "--from", "2024-01-01", "--to", "2024-01-02")
    assert (found.code, found.out) == (Exit.REFUSED, "")
    assert "scrape kube-state-metrics" in found.err
    span = ("--from", f"{world.START:%Y-%m-%dT%H:%M:%SZ}", "--to", f"{world.END:%Y-%m-%dT%H:%M:%SZ}")
    last = documents(desk.types("--prometheus", prometheus, *span, "--score"))[-1]
    summary: dict[str, object] = last["summary"]  # type: ignore[assignment]
    assert (summary["without_truth"], summary["recordings"], summary["precision"]) == (1, 0, None)
