"""What a replay passes over changes no verdict and no proof; it only saves looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from daemon.core.actions import Action, Outcome
from daemon.core.incidents import Phase
from daemon.core.ledger import ProofKind
from daemon.core.state import State
from handlers.backtest import intervals
from handlers.backtest.recording import AlertSeen, PodSeen, Record, Recording, RolloutSeen, SampleSeen, recording
from handlers.backtest.replay import _Replay, default_policy, judged_as
from handlers.backtest.verdicts import Told
from tests.backtest.replay_cases import GOOD, MINUTE, NOON, ROLLED_AT, WEB, Shop

DAY = timedelta(days=1)


class Awake:
    """In place of Resting: nobody ever rests."""

    def with_alert(self, state: State, labels: object) -> list[str]:
        return []

    def looked(self, state: State, action: Action, now: datetime) -> State:
        return state

    def wake(self, state: State, workload: str, now: datetime) -> State:
        return state


class Counted(_Replay):
    """A replay that counts what is asked of its world."""

    def __init__(self, found: Recording, *, rests: bool, **changes: object) -> None:
        sampling = intervals.find(found.evidence)
        policy = replace(judged_as(default_policy(), sampling), **changes)  # type: ignore[arg-type]
        super().__init__(found, policy, sampling)
        self.asked: Counter[str] = Counter()
        if not rests:
            self._resting = Awake()  # type: ignore[assignment]
        answer = self._world.answer

        def counted(action: Action, now: datetime) -> Outcome:
            self.asked[type(action).__name__] += 1
            return answer(action, now)

        self._world.answer = counted  # type: ignore[method-assign]

    @property
    def state(self) -> State:
        return self._state


def both(records: list[Record], **changes: object) -> Iterator[tuple[Counted, list[Told]]]:
    """The replay that rests, and the one that never does."""
    for rests in (True, False):
        run = Counted(recording("silent.jsonl", records), rests=rests, **changes)
        yield run, list(run.run())


def later(of: Shop, after: timedelta) -> list[Record]:
    """A shop's samples again, after a long silence."""
    again = [each for each in of.records() if isinstance(each, SampleSeen) and each.at > ROLLED_AT + 20 * MINUTE]
    return [
        SampleSeen(**{**{name: getattr(each, name) for name in each.__struct_fields__}, "at": each.at + after})
        for each in again
    ]


def exchanged(shop: Shop) -> list[Record]:
    """The shop, and its rollout goes over: the old pods are deleted with the last sample."""
    gone = (
        PodSeen(at=shop.end, pod=f"web-old-{letter}", workload=WEB, revision="old", ready=False, deleted=True)
        for letter in "ab"
    )
    return [*replace(shop, completed=True).records(), *gone]


def resolved(at: datetime) -> AlertSeen:
    labels = {"alertname": "Errors", "namespace": "shop", "deployment": "web"}
    return AlertSeen(at=at, status="resolved", labels=labels, starts_at=ROLLED_AT + 3 * MINUTE)


def ledger_of(run: Counted) -> dict[str, tuple[object, ...]]:
    return {
        name: (entry.proof, entry.quarantined_by, entry.soaked, entry.quiet, entry.withdrawn)
        for name, entry in run.state.workloads[WEB].ledger.items()
    }


SILENCES: dict[str, list[Record]] = {
    "it stays bad": [*exchanged(Shop()), *later(Shop(), DAY)],
    "it is well again": [
        *exchanged(Shop()),
        resolved(ROLLED_AT + DAY),
        *later(Shop(errors=GOOD), DAY),
    ],
    "nothing is heard but the end of the alert": [*exchanged(Shop()), resolved(ROLLED_AT + DAY)],
    "the alert ends first": [
        *exchanged(Shop()),
        resolved(ROLLED_AT + DAY),
        *later(Shop(errors=GOOD), 2 * DAY),
    ],
    "a newer rollout": [
        *exchanged(Shop()),
        RolloutSeen(at=NOON + DAY / 2, workload=WEB, revision="newer", replaces="new", phase="started"),
        *later(Shop(), DAY),
    ],
    "never completed": [*Shop().records(), *later(Shop(), DAY)],
    "never any trouble": [
        *exchanged(Shop(errors=GOOD, alert_after=None)),
        *later(Shop(errors=GOOD), DAY),
    ],
    "without signals": [
        *(each for each in exchanged(Shop(alert_after=None)) if not isinstance(each, SampleSeen)),
        RolloutSeen(at=NOON + DAY, workload=WEB, revision="newer", replaces="new", phase="started"),
    ],
}


@pytest.mark.parametrize("records", SILENCES.values(), ids=SILENCES)
def test_whoever_rests_misses_nothing(records: list[Record]) -> None:
    """The same verdicts, phases and proofs, to the moment, whatever comes after a silence of days."""
    (resting, told), (awake, wanted) = both(records)
    assert told == wanted
    assert ledger_of(resting) == ledger_of(awake)
    assert [each.phase for each in resting.state.incidents.values()] == [
        each.phase for each in awake.state.incidents.values()
    ]
    assert [each.phase_since for each in resting.state.incidents.values()] == [
        each.phase_since for each in awake.state.incidents.values()
    ]


def test_a_silence_costs_next_to_nothing() -> None:
    """Two days without a record: some looks a day, where there would be one a minute."""
    records = [*exchanged(Shop()), *later(Shop(), 2 * DAY)]
    (resting, _), (awake, _) = both(records)
    assert awake.asked["Measure"] > 2 * 1440
    assert resting.asked["Measure"] < 100
    assert awake.asked["ProveSoak"] > 1000
    assert resting.asked["ProveSoak"] < 100


def test_the_symptom_is_seen_to_be_gone_when_it_is() -> None:
    """An incident that rests is closed by the samples that show it, and not by the next look of its own."""
    (resting, _), (awake, _) = both(SILENCES["it is well again"])
    first, wanted = (next(iter(run.state.incidents.values())) for run in (resting, awake))
    assert first.phase is Phase.CLOSED
    assert first.phase_since == wanted.phase_since


def test_a_quiet_revision_is_proven_at_the_same_moment() -> None:
    """Health alone proves after `soak_low_traffic`, a multiple of no look."""
    (resting, _), (awake, _) = both(
        [*SILENCES["without signals"][:-1], later(Shop(), DAY)[0]], soak_low_traffic=timedelta(hours=7, minutes=1)
    )
    proofs = [run.state.workloads[WEB].ledger["new"].proof for run in (resting, awake)]
    assert proofs[0] is not None
    assert proofs[0].kind is ProofKind.HEALTH_ONLY
    assert proofs[0] == proofs[1]
