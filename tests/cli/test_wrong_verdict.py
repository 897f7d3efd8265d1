"""Somebody reads why a verdict was wrong: every term of every candidate, and the one that misled it, without reading code."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shlex
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.sources import RESERVED
from daemon.cli import story as telling
from daemon.cli.arguments import parser
from daemon.cli.exits import Exit
from daemon.cli.terminal import Screen
from daemon.core.incidents import Phase, Tier, Word
from daemon.core.measurement import Measurement
from daemon.core.model import Mode, Neighbour, RevisionPods
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from daemon.core.weights import WEIGHTS
from handlers import explain
from tests import documents
from tests.cli.desk import Desk
from tests.core.builders import (
    CART,
    FINGERPRINT,
    MINUTE,
    NOON,
    SECOND,
    V1,
    a_location,
    a_measurement,
    a_policy,
    a_revision,
    a_rollout_view,
    a_view,
    an_alert,
    samples,
)
from tests.core.story import Story
from tests.handlers.people import Daemon, listening

GOLDEN = Path(__file__).parent.parent / "golden" / "explain_wrong.txt"
SIDES = {"new": 0.52, "old": 0.21}
"""The p95 of the latency in seconds."""
NOTE = "its node had a noisy neighbour"
CART_V2 = a_revision(2, replica_set="cart-2", images=("registry.example/cart:v2",))


def noisy_neighbour(policy: Policy | None = None) -> Story:
    """The shop's new pods are slow because of what else runs on their node; cart, which it calls, rolled out earlier."""
    story = Story(policy or a_policy(default_mode=Mode.OBSERVE))
    story.proves_v1()
    story.sees(a_view(workload=CART, uid="uid-cart", pods=(RevisionPods(revision=V1.id, names=("cart-1",), ready=1),)))
    story.now = NOON - 5 * MINUTE
    story.sees(a_rollout_view(CART_V2, workload=CART, uid="uid-cart", started_at=story.now))
    story.rolls_out()
    story.measures = lambda action: slow(story)
    cart = Neighbour(workload=CART, hops=1, called=True)
    began = NOON + 2 * MINUTE
    story.where[FINGERPRINT] = replace(a_location(onset=began), neighbours=(cart,), kin=(CART,))
    story.fires(an_alert(starts_at=NOON + 5 * MINUTE))
    return story


def slow(story: Story) -> Measurement:
    """New pods at more than twice the old ones' latency, for four minutes, without an error."""
    sides = {name: samples(0.001, until=story.now, count=8, latency_p95=p95) for name, p95 in SIDES.items()}
    before = samples(0.001, until=NOON - SECOND, latency_p95=0.2)
    return replace(a_measurement(story.now), new=sides["new"], old=sides["old"], before=before)


def told(story: Story) -> str:
    """What `lastgood explain` prints of the latest incident."""
    out = io.StringIO()
    telling.tell(document(story), Screen(out))
    return out.getvalue()


def document(story: Story) -> dict[str, Any]:
    """What the daemon answers."""

    async def history() -> list[Any]:
        return [entry async for entry in Daemon(story).history(incident=story.incident.id)]

    return explain.incident_document(story.incident, asyncio.run(history()), story.state, story.policy, story.now)


def judged(text: str) -> str:
    """The section with a person's word, on one line."""
    found = re.search(r"^JUDGED .*?(?=^EVIDENCE|^REFUSALS)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, text
    return " ".join(found[0].split())


def verdict_and_evidence(text: str) -> str:
    """What is said between what happened and what stands in the way."""
    return text[text.index("VERDICT") : text.index("REFUSALS")].rstrip() + "\n"


def weights(text: str) -> list[list[float]]:
    """The weights of each table of terms, in the order of the table."""
    tables = text.split("\nEVIDENCE ")[1:]
    return [
        [float(found) for found in re.findall(r"^ +([+-]\d\.\d\d)  \w+ +[\d.]+ +[\d.]+$", each, re.MULTILINE)]
        for each in tables
    ]


@pytest.fixture
async def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """A daemon that blames the shop's innocent rollout."""
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)
    daemon = Daemon(noisy_neighbour())
    async with listening(daemon, tmp_path / "s") as address:
        yield Desk(daemon, address, tmp_path / "s", capsys)


# Real sockets: virtual time would run past them.
@pytest.mark.looptime(False)
async def test_a_reader_sees_which_term_misled_it(desk: Desk) -> None:
    """Typed: explain, judge wrong, explain. Every term of every candidate, the sums, and first of all what spoke loudest.

    tests/golden/explain_wrong.txt is what people read; deploy/docs/reading-a-verdict.md shows the same.
    """
    incident = desk.daemon.story.incident.id
    before = await desk.types("explain", incident)
    assert (before.code, "JUDGED" in before.out) == (Exit.OK, False)
    assert (await desk.types("judge", incident, "wrong", "--note", NOTE, "--as", "ann")).code == Exit.OK
    after = await desk.types("explain", incident)
    text = re.sub(r"by unix:\S+ \(says 'ann'\)", "by ann", verdict_and_evidence(after.out))
    assert text == GOLDEN.read_text()
    assert max(len(line) for line in verdict_and_evidence(after.out).splitlines()) <= 80
    shown = json.loads((await desk.types("explain", incident, "--json")).out)
    assert shown["judged"]["misled"]["loudest"] == shown["candidates"][0]["terms"][0]


def test_the_page_shows_what_is_printed() -> None:
    """deploy/docs/reading-a-verdict.md explains the real text, and names every term that there is."""
    page = documents.read("deploy/docs/reading-a-verdict.md")
    assert GOLDEN.read_text() in [block.body for block in documents.blocks(page, "text")]
    assert {row[0].strip("`") for row in documents.table(page, "term")} == set(WEIGHTS)
    assert {row[0].strip("`") for row in documents.table(page, "tier")} == {tier.value for tier in Tier}
    for program, *words in map(shlex.split, documents.commands(page)):
        assert (program, parser().parse_args(words).command) == ("lastgood", words[0])


def test_the_loudest_term_is_first_in_every_table() -> None:
    """For or against, of each candidate; and every term that counted is there."""
    story = noisy_neighbour()
    found = weights(told(story))
    assert [[abs(weight) for weight in each] for each in found] == [
        sorted((round(abs(term.weight), 2) for term in suspicion.terms), reverse=True)
        for suspicion in story.incident.suspicions
    ]
    assert found[1] != [round(term.weight, 2) for term in story.incident.suspicions[1].terms], "the order of the code"


def test_what_was_right_needs_no_culprit() -> None:
    """The word, by whom and about what, and nothing about being misled."""
    story = noisy_neighbour()
    story.judges(Word.RIGHT)
    assert judged(told(story)) == (
        "JUDGED RIGHT by ann at 12:05:00Z the decision at 12:05:00Z: roll back checkout:v2 (22hash)"
    )


def test_what_was_handed_over_wrongly_names_the_guard() -> None:
    """Nothing to go back to: the guard that handed it over, with seen and needed, and what spoke for the blame."""
    story = Story()
    story.soaks = lambda action: None
    story.spikes()
    story.judges(Word.WRONG)
    said = judged(told(story))
    assert "the decision at 12:01:00Z: hand over checkout:v2 (22hash)" in said
    assert "what handed it over: TARGET_NOT_VERIFIED; seen: " in said
    assert "what spoke loudest: contrast, +0.80 of a sum of 1.25" in said


def test_what_was_not_blamed_wrongly_names_what_took_it_back() -> None:
    """No decision in time, for the new pods looked fine: the term that spoke against the blame is named."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=0.001)
    story.spikes()
    story.waits(20 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.DECIDE_DEADLINE)
    story.judges(Word.WRONG)
    said = judged(told(story))
    assert "what spoke loudest against any blame: exculpation, -0.50 of a sum of -0.05" in said
    assert "without it: 0.45 (needs 0.30); for the blame there is timing besides" in said


def test_what_was_not_seen_says_so() -> None:
    """No decision in time, for nothing could be measured: nothing spoke against it."""
    story = Story(a_policy(blame_threshold=0.5))
    story.measures = lambda action: a_measurement(story.now, new=None, old=None)
    story.spikes()
    story.waits(20 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.DECIDE_DEADLINE)
    story.judges(Word.WRONG)
    assert "nothing spoke against the blame, and too little for it: 0.45 (needs 0.50)" in judged(told(story))


def test_it_is_the_evidence_of_the_decision_that_counts() -> None:
    """What was measured after the decision is in the tables; what misled it is told from before."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    story.measures = lambda action: a_measurement(story.now, new=None, old=None)
    story.approves()
    story.waits(MINUTE)
    assert [term.name for term in story.incident.suspicions[0].terms] == ["timing"]
    story.judges(Word.WRONG)
    assert "what spoke loudest: contrast, +0.80 of a sum of 1.25" in judged(told(story))
    known = explain.incident_document(story.incident, [], story.state, story.policy, story.now)["judged"]
    assert known["misled"]["loudest"]["name"] == "timing", "without the journal: what is known"
