"""What holds for every history: found by generating them, not by thinking of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from daemon.core import blame
from daemon.core.actions import Measure, Outcome, OutcomeKind, RollBack, RolledBack, Superseded
from daemon.core.facts import ActionOwed
from daemon.core.incidents import Phase
from daemon.core.ledger import LedgerEntry, Proof, ProofKind, choose_target
from daemon.core.measurement import AlertState, Measurement
from daemon.core.model import AlertStatus, IncidentId, Mode, OnsetSource, Revision, Rollout
from tests.core.builders import (
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_location,
    a_measurement,
    a_policy,
    a_recovery,
    a_revision,
    a_rollout_view,
    a_soak,
    a_start_failure,
    a_view,
    an_alert,
    states,
)
from tests.core.story import Story

POLICY = a_policy()


@settings(max_examples=40)
@given(
    order=st.permutations(range(4)),
    seconds=st.lists(st.integers(-600, 600), min_size=4, max_size=4),
    sources=st.lists(st.sampled_from(OnsetSource), min_size=4, max_size=4),
)
def test_the_order_of_the_alerts_does_not_matter(
    order: list[int], seconds: list[int], sources: list[OnsetSource]
) -> None:
    """However a group of alerts is shuffled, the rollout gets the same verdict."""
    verdicts = []
    for sequence in (range(4), order):
        story = Story()
        story.proves_v1()
        story.rolls_out()
        story.withheld = {Measure}
        for index in range(4):
            onset = NOON + seconds[index] * SECOND
            story.where[f"f{index}"] = a_location(onset=onset, onset_source=sources[index])
        story.fires(*(an_alert(f"f{index}", starts_at=NOON + 11 * MINUTE) for index in sequence))
        story.withheld = set()
        story.answers()
        found = [
            (incident.phase, incident.onset, incident.verdict, incident.suspicions)
            for incident in story.incidents
            if incident.verdict is not None
        ]
        verdicts.append(found)
    assert verdicts[0] == verdicts[1]


def an_entry(revision: Revision, verified: bool, quarantined: bool) -> LedgerEntry:
    """A ledger entry with or without proof and quarantine."""
    proof = Proof(
        kind=ProofKind.TRAFFIC, verified_at=NOON, soaked=MINUTE, since=NOON, backwards=False, sentence="proven"
    )
    return LedgerEntry(
        revision=revision,
        proof=proof if verified else None,
        quarantined_by=IncidentId("inc-1") if quarantined else None,
    )


@given(
    marks=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=8),
    blamed=st.integers(0, 7),
    replaced=st.none() | st.integers(0, 7),
)
def test_the_target_is_always_verified_and_never_the_blamed_one(
    marks: list[tuple[bool, bool]], blamed: int, replaced: int | None
) -> None:
    """Whatever the ledger holds, an unproven or quarantined revision is never the target, and each is accounted for."""
    history = tuple(a_revision(number + 1) for number in range(len(marks)))
    ledger: dict[str, LedgerEntry] = {r.id: an_entry(r, *mark) for r, mark in zip(history, marks, strict=True)}
    bad = history[blamed % len(history)]
    old = None if replaced is None else history[replaced % len(history)]
    choice = choose_target(ledger, history, bad, old, POLICY)
    allowed = [r for r in history if ledger[r.id].verified and r.id != bad.id]
    if choice.target is None:
        assert not allowed
        assert len(choice.rejected) == len(history) - 1
    else:
        assert choice.target.revision in allowed
        assert bad not in choice.skipped
        assert len(choice.skipped) == len(choice.rejected)


def suspicion(measurement: Measurement) -> float:
    """The score of v2's rollout under this measurement."""
    rollout = Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)
    found = blame.suspect(
        rollout, measurement, NOON + STEP, OnsetSource.RULE, POLICY, old_ran=True, chain_start=None
    )  # fmt: skip
    return found.score


@given(
    errors=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    old=st.floats(0, 0.004),
    which=st.integers(0, 4),
    worse=st.floats(0, 1),
)
def test_more_evidence_never_lowers_suspicion(errors: list[float], old: float, which: int, worse: float) -> None:
    """A new pod that does worse in any minute, or that cannot start, never makes its rollout look better."""
    at = NOON + 3 * MINUTE
    base = a_measurement(at, old=old)
    told = tuple(
        replace(sample, values=(("traffic", 20.0), ("error_ratio", value)))
        for sample, value in zip(base.new, errors, strict=True)
    )
    more = list(told)
    more[which] = replace(
        told[which], values=(("traffic", 20.0), ("error_ratio", max(errors[which], worse)))
    )  # fmt: skip
    less = suspicion(replace(base, new=told))
    assert suspicion(replace(base, new=tuple(more))) >= less
    crashing = replace(base, new=told, new_ready=0, start_failure=a_start_failure())
    assert suspicion(crashing) >= less


STEPS = st.lists(
    st.sampled_from(
        ["fires", "resolves", "v2", "v3", "done", "back", "gone", "anew", "bad", "good", "dark", "proof", "regress",
         "approve", "decline", "close", "pause", "resume", "release", "restart", "patch fails", "patch late",
         "second", "5s", "40s", "3m", "20m"]
    ),
    max_size=25,
)  # fmt: skip


def _firing(action: Measure) -> tuple[AlertState, ...]:
    return states(AlertStatus.FIRING, [alert.fingerprint for alert in action.alerts])


class Wild:
    """A world without manners: anything may happen at any time."""

    def __init__(self, mode: Mode) -> None:
        self.story = Story(a_policy(default_mode=mode))
        self.story.spikes()

    def _measured(self, errors: float | None, action: Measure) -> Measurement:
        now = self.story.now
        gone = states(AlertStatus.RESOLVED, [alert.fingerprint for alert in action.alerts])
        return a_recovery(now, alerts=gone) if errors == 0 else a_measurement(now, new=errors, alerts=_firing(action))

    def _patched(self, how: str, action: RollBack) -> Outcome | None:
        done = RolledBack(generation=99, patched_at=self.story.now)
        return {
            "patch fails": Outcome(kind=OutcomeKind.REFUSED, result=Superseded(revision=V3.id)),
            "patch late": None,
        }.get(how, Outcome(kind=OutcomeKind.DONE, result=done))

    def does(self, step: str) -> None:
        """One thing happens."""
        story, now = self.story, self.story.now
        waits = {"5s": 5 * SECOND, "40s": 40 * SECOND, "3m": 3 * MINUTE, "20m": 20 * MINUTE}
        views: dict[str, Any] = {
            "v2": partial(a_rollout_view, V2, V1, started_at=now),
            "v3": partial(a_rollout_view, V3, V2, started_at=now),
            "done": partial(a_view, V2, started_at=now, available_since=now, stuck=True),
            "back": partial(a_view, V1, started_at=now, generation=100, history=(V1, V2, V3)),
            "gone": partial(a_view, gone=True),
            "anew": partial(a_view, V2, uid="uid-9", start_failure=a_start_failure(), stuck=True),
        }
        measured = {"bad": 0.4, "good": 0.0}
        if step in waits:
            story.waits(waits[step])
        elif step in views:
            story.sees(views[step]())
        elif step in measured:
            story.measures = partial(self._measured, measured[step])
        elif step.startswith("patch"):
            story.patches = partial(self._patched, step)
        else:
            self._acts(step)

    def _acts(self, step: str) -> None:
        story = self.story
        people = {"approve": story.approves, "decline": story.declines, "close": story.closes}
        plain: dict[str, Callable[[], None]] = {
            "fires": lambda: story.fires(an_alert(starts_at=story.now)),
            "second": lambda: story.fires(an_alert("f2", starts_at=story.now)),
            "resolves": story.resolves,
            "pause": lambda: story.pauses("shop", 2 * MINUTE),
            "resume": lambda: story.resumes("shop"),
            "release": story.releases,
            "restart": lambda: story.starts(down_since=story.now),
        }
        if step in plain:
            story.where["f1"] = story.where["f2"] = a_location(onset=story.now)
            plain[step]()
        elif step in people and story.incidents:
            people[step]()
        elif step == "dark":
            story.measures = lambda action: None
        elif step == "proof":
            story.soaks = lambda action: a_soak(action.since, max(action.since, story.now))
        elif step == "regress":
            zero = timedelta(0)
            story.soaks = lambda action: a_soak(action.since, story.now, zero, unhealthy_at=story.now)


def owed_rollbacks(story: Story) -> list[RollBack]:
    """Every rollback that was ever owed."""
    return [fact.action for fact in story.of(ActionOwed) if isinstance(fact.action, RollBack)]


@settings(max_examples=200)
@given(steps=STEPS, mode=st.sampled_from(Mode))
def test_whatever_happens_the_promises_hold(steps: list[str], mode: Mode) -> None:
    """No illegal move, no busy loop, the same answers again, facts alone rebuild the state, one rollback per incident.

    And never a rollback in observe, while paused, or of a revision to itself.
    """
    wild = Wild(mode)
    for step in steps:
        before = len(owed_rollbacks(wild.story))
        paused = wild.story.state.paused_by(SHOP, wild.story.now) is not None
        wild.does(step)
        new = owed_rollbacks(wild.story)[before:]
        assert not (new and paused and step not in {"resume", "3m", "20m"})
    story = wild.story
    event(f"{len(owed_rollbacks(story))} rollbacks, {len(story.incidents)} incidents")
    assert story.replayed() == story.state
    rollbacks = owed_rollbacks(story)
    assert len({action.incident for action in rollbacks}) == len(rollbacks)
    assert mode is not Mode.OBSERVE or (not rollbacks and not story.pages)
    assert all(action.blamed.id != action.target.id for action in rollbacks)
    if mode is Mode.APPROVE:
        approved = {incident.id for incident in story.incidents if incident.approved_by}
        assert {action.incident for action in rollbacks} <= approved
    for incident in story.incidents:
        assert incident.phase.ended or incident.deadline or incident.phase is Phase.ESCALATED
