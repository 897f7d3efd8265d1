"""The page of a backtest: every verdict has its plot, nothing on it can act, and its size is bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from daemon.core.incidents import Term, VerdictKind
from daemon.core.reasons import Consequence, Reason, Refusal
from handlers.backtest.lines import POINTS_MAX, Lines, thinned
from handlers.backtest.page import VERDICTS_MAX, page
from handlers.backtest.recording import AlertSeen, PodSeen, Record, Recording, RolloutSeen, SampleSeen, recording
from handlers.backtest.verdicts import Told

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WEB = "shop/Deployment/web"
HOSTILE = "\"><script>alert(1)</script><img src=https://evil.example/x onerror='x'>&amp;\u202e\x1b[31m"

VOID = frozenset({"meta", "img", "link", "br", "hr"})


class Seen(HTMLParser):
    """What a browser would see: tags that are balanced, attributes, and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def seen(html: str) -> Seen:
    parser = Seen()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser


def history(workload: str = WEB, *, minutes: int = 60, revision: str = "new") -> Iterator[Record]:
    yield PodSeen(at=NOON, pod="web-old-1", workload=workload, revision="old", ready=True)
    yield PodSeen(at=NOON + 20 * MINUTE, pod="web-new-1", workload=workload, revision=revision, ready=True)
    yield RolloutSeen(at=NOON + 20 * MINUTE, workload=workload, revision=revision, replaces="old", phase="started")
    for minute in range(minutes):
        for pod, value in (("web-old-1", 0.001), ("web-new-1", 0.4)):
            if pod == "web-old-1" or minute >= 20:
                yield SampleSeen(
                    at=NOON + minute * MINUTE,
                    signal="error_ratio",
                    workload=workload,
                    pod=pod,
                    value=value,
                    weight=60.0,
                )
    yield AlertSeen(
        at=NOON + 25 * MINUTE,
        status="firing",
        labels={"alertname": "Errors", "namespace": "shop"},
        starts_at=NOON + 25 * MINUTE,
    )


def told(**changes: object) -> Told:
    fields: dict[str, object] = {
        "at": NOON + 27 * MINUTE,
        "recording": "r",
        "verdict": VerdictKind.ROLL_BACK,
        "reason": Reason.BLAMED_CONTRAST,
        "workload": WEB,
        "revision": "new",
        "replaces": "old",
        "score": 0.9,
        "margin": 0.5,
        "evidence": (Term(name="contrast", value=0.4, threshold=0.05, weight=0.6, sentence="new pods fail"),),
        "would_refuse": (
            Refusal(reason=Reason.PROOF_OLD, consequence=Consequence.PROPOSE, seen="20 days", needed="14 days"),
        ),
        "onset": NOON + 22 * MINUTE,
        "rollout_at": NOON + 20 * MINUTE,
    }
    return Told(**{**fields, **changes})  # type: ignore[arg-type]


def made(*records: Record) -> Recording:
    return recording("r", sorted(records, key=lambda record: record.at))


def test_every_verdict_has_its_plot_and_a_link_to_it() -> None:
    """Whatever the verdict, with a candidate or without, it has one plot, and the index leads to it."""
    verdicts = [told(verdict=kind) for kind in VerdictKind]
    verdicts += [told(workload=None, revision=None, replaces=None, score=None, margin=None, evidence=())]
    found = seen(page([(made(*history()), verdicts)]))
    assert found.tags.count("svg") == len(verdicts)
    targets = {value for name, value in found.attributes if name == "id"}
    links = {value for name, value in found.attributes if name == "href" and value != "#"}
    assert links == {f"#{target}" for target in targets}
    assert len(targets) == len(verdicts)


def test_a_plot_shows_both_revisions_the_rollout_the_alert_and_the_evidence() -> None:
    """Both sides have a line each, the rollout's start and the verdict are marked, and the tables name every term."""
    html = page([(made(*history()), [told()])])
    for wanted in ('polyline class="new"', 'polyline class="old"', 'line class="rollout"', 'line class="verdict"'):
        assert wanted in html
    words = " ".join(seen(html).text)
    for said in ("started", "Errors", "new pods fail", "PROOF_OLD", "20 days", "14 days", "error_ratio"):
        assert said in words
    assert 'rect class="alert"' in html


@pytest.mark.parametrize("kind", ["workload", "revision", "term", "alert", "refusal", "recording"])
def test_hostile_names_stay_text(kind: str) -> None:
    """Whoever names a workload, an alert or a revision cannot add a tag, an attribute or a direction mark to the page."""
    workload = f"shop/Deployment/{HOSTILE.replace('/', '')}" if kind == "workload" else WEB
    revision = HOSTILE if kind == "revision" else "new"
    verdict = told(
        workload=workload,
        revision=revision,
        evidence=(Term(name=HOSTILE, value=1, threshold=1, weight=1, sentence=HOSTILE),) if kind == "term" else (),
        would_refuse=(Refusal(reason=Reason.PROOF_OLD, consequence=Consequence.PROPOSE, seen=HOSTILE, needed=HOSTILE),)
        if kind == "refusal"
        else (),
    )
    alert = AlertSeen(
        at=NOON, status="firing", labels={"alertname": HOSTILE if kind == "alert" else "A"}, starts_at=NOON
    )
    signal = SampleSeen(at=NOON, signal=HOSTILE, workload=workload, pod="web-old-1", value=1.0)
    told_by = made(*history(workload, revision=revision), alert, signal)
    if kind == "recording":
        told_by = Recording(name=HOSTILE, evidence=told_by.evidence, truths=())
    html = page([(told_by, [verdict])])
    found = seen(html)
    assert not {"script", "img", "iframe", "link"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    assert "\u202e" not in html
    assert "\x1b" not in html
    assert any("<script>" in each for each in found.text)  # it is told, as text


def test_it_opens_without_a_network() -> None:
    """Nothing on the page points anywhere but into itself, and its own policy forbids all loading."""
    html = page([(made(*history()), [told()])])
    assert re.findall(r"https?://|url\(|@import", html) == []
    assert "default-src 'none'" in html
    assert {value for name, value in seen(html).attributes if name == "href"} == {"#", "#v1"}


def test_a_long_line_is_thinned_and_keeps_its_spike() -> None:
    """However many samples there are, a line has POINTS_MAX points at most, and the one bad minute is among them."""
    points = [(NOON + n * timedelta(seconds=1), 0.0) for n in range(10_000)]
    points[6543] = (points[6543][0], 9.0)
    found = thinned(points)
    assert len(found) <= POINTS_MAX
    assert max(value for _, value in found) == 9.0
    assert [at for at, _ in found] == sorted(at for at, _ in found)


def test_the_page_is_bounded() -> None:
    """Beyond VERDICTS_MAX the weakest verdicts have no plot, and the page says how many."""
    verdicts = [told(verdict=VerdictKind.HOLD) for _ in range(VERDICTS_MAX + 50)] + [told()]
    html = page([(made(*history()), verdicts)])
    found = seen(html)
    assert found.tags.count("svg") == VERDICTS_MAX
    assert "The 51 weakest verdicts" in html
    assert 'class="kind roll_back"' in html
    assert len(html) < VERDICTS_MAX * 25_000


def test_samples_of_a_third_revision_are_neither_side() -> None:
    """A pod of a revision that the verdict is not about is in no line: it would pass for old or new."""
    other = PodSeen(at=NOON, pod="web-third-1", workload=WEB, revision="third", ready=True)
    high = SampleSeen(at=NOON + MINUTE, signal="error_ratio", workload=WEB, pod="web-third-1", value=1.0)
    picture = Lines(made(*history(), other, high)).picture(told())
    (panel,) = picture.panels
    assert {line.side for line in panel.lines} == {"old", "new"}
    assert max(value for line in panel.lines for _, value in line.points) == 0.4


def test_pods_are_joined_by_their_requests() -> None:
    """An error ratio of two pods is that of all their requests, not the average of the two."""
    records: list[Record] = [
        PodSeen(at=NOON, pod=name, workload=WEB, revision="new", ready=True) for name in ("web-new-1", "web-new-2")
    ]
    for name, value, weight in (("web-new-1", 1.0, 10.0), ("web-new-2", 0.0, 90.0)):
        records.append(
            SampleSeen(at=NOON + 20 * MINUTE, signal="error_ratio", workload=WEB, pod=name, value=value, weight=weight)
        )
    (panel,) = Lines(made(*records)).picture(told()).panels
    ((at, value),) = panel.lines[0].points
    assert at == NOON + 20 * MINUTE
    assert value == pytest.approx(0.1)


def test_alerts_of_other_namespaces_are_left_out() -> None:
    """A plot shows what fired about the workload's namespace or about none, and what names the workload comes first."""
    alerts = [
        AlertSeen(at=NOON + 25 * MINUTE, status="firing", labels=labels, starts_at=NOON)
        for labels in (
            {"alertname": "Elsewhere", "namespace": "pay"},
            {"alertname": "Node"},
            {"alertname": "Web", "namespace": "shop", "deployment": "web"},
        )
    ]
    assert [span.name for span in Lines(made(*alerts)).picture(told()).alerts] == ["Web", "Node"]


def test_a_line_ends_where_nothing_was_measured() -> None:
    """A revision that had no pods for a while has no line there: one across the hole would tell what nobody saw."""
    records = [each for each in history() if not (isinstance(each, SampleSeen) and hole(each))]
    (panel,) = Lines(made(*records)).picture(told()).panels
    old = next(line for line in panel.lines if line.side == "old")
    assert len(old.parts) == 2
    assert page([(made(*records), [told()])]).count('polyline class="old"') == 2


def hole(sample: SampleSeen) -> bool:
    return sample.pod == "web-old-1" and NOON + 22 * MINUTE < sample.at < NOON + 40 * MINUTE


def test_labels_close_to_each_other_are_in_rows() -> None:
    """Moments of one minute keep their labels apart."""
    stages = [
        RolloutSeen(at=NOON + 27 * MINUTE, workload=WEB, revision="new", replaces="old", phase="stage")
        for _ in range(3)
    ]
    html = page([(made(*history(), *stages), [told()])])
    heights = re.findall(r'<text class="(?:rollout|verdict)" x="[\d.]+" y="(\d+)">(?:stage|roll_back)', html)
    assert len(heights) == 4
    assert len(set(heights)) == 4
