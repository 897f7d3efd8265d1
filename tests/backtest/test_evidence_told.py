"""A backtest tells the same evidence as `explain`: all terms, the loudest first, with the sums and what they need."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from handlers.backtest.page import OTHERS_MAX, page
from handlers.backtest.recording import AlertSeen, Record, Recording, RolloutSeen, recording
from handlers.backtest.replay import replay
from handlers.backtest.verdicts import Told
from tests.backtest.replay_cases import FRONT, GOOD, ROLLED_AT, WEB, Shop

LATE = timedelta(minutes=14)
"""From the rollout of web to the alert: timing weighs less than the call graph by then."""


def hurts_at_the_front() -> Recording:
    """Web rolls out, front just now, too late to have done it; the alert is front's, and no signal shows anything."""
    began = at = ROLLED_AT + LATE
    labels = {"alertname": "Slow", "namespace": "shop", "deployment": "front"}
    more: list[Record] = [
        RolloutSeen(at=began, workload=FRONT, revision="new", replaces="old", phase="started"),
        AlertSeen(at=at, status="firing", labels=labels, starts_at=at),
    ]
    records = [*Shop(errors=GOOD, alert_after=None).records(), *more]
    return recording("shop.jsonl", sorted(records, key=lambda record: record.at))


def told() -> list[Told]:
    """The verdicts that name somebody."""
    return [each for each in replay(hurts_at_the_front()) if each.workload is not None]


def test_the_loudest_term_is_first() -> None:
    """In each line, for or against: here the call comes before the time."""
    lines = [each.document()["evidence"] for each in told()]
    weights = [[abs(term["weight"]) for term in evidence] for evidence in lines]
    assert weights == [sorted(each, reverse=True) for each in weights]
    assert ["graph", "timing"] in [[term["term"] for term in evidence] for evidence in lines]


def test_the_page_has_the_terms_of_those_behind_and_what_is_needed() -> None:
    """The sum of each table, what score and lead need, and the evidence of the next candidates, not of all of them."""
    one = next(each for each in told() if each.others)
    html = page([(hurts_at_the_front(), [one])])
    assert re.search(r"Score [\d.]+ \(needs 0\.3\), ahead of the next by [\d.]+ \(needs 0\.2\)\.", html)
    (behind,) = one.others
    assert {one.workload, behind.workload.key} == {FRONT, WEB}
    assert f"Behind it: {behind.workload.key}, revision {behind.revision.id}, score {behind.score:.4g}." in html
    assert html.count("<td>sum</td>") == 2
    for term in (*one.evidence, *behind.terms):
        assert f'<td class="n">{term.weight:+.4g}</td><td>{term.sentence}' in html
    many = page([(hurts_at_the_front(), [replace(one, others=(behind,) * 9)])])
    assert many.count("Behind it:") == OTHERS_MAX
