"""A recording from the user's own Prometheus: what Lastgood would have seen in the last weeks, had it been there.

kube-state-metrics tells rollouts and pods, `ALERTS` the alerts, the policy's queries the signals. Signals are read only where a
decision could need them: around rollouts and alerts. What is not in Prometheus cannot be in the recording
(deploy/docs/recordings.md).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.core.policy import Policy
from handlers.alert_history import Spell
from handlers.backtest import past_alerts, past_calls, past_pods, past_rollouts, past_signals
from handlers.backtest.past_rollouts import COARSE, Key, Past, key_of, name_of
from handlers.backtest.reading import Progress, Reader, Steps, a_few_at_once, merged, spans
from handlers.backtest.recording import Record, Recording, RolloutSeen, SampleSeen, recording
from handlers.faults import Fault
from handlers.prometheus import PrometheusClient

BEFORE_ROLLOUT = timedelta(minutes=15)
AFTER_ROLLOUT = timedelta(hours=2)
"""A rollout older than that is not acted upon (TOO_OLD)."""

RECENT = timedelta(hours=2)
"""So long before an alert a rollout is one that may be to blame."""

WINDOW_MAX = timedelta(hours=6)
"""Of one piece of reading: 360 samples a series at 60 s, and no more pods than were there in this time."""

SPAN_MAX = timedelta(days=92)
"""Of one recording: what is older is another team's software."""

STEP_MIN = timedelta(seconds=10)
"""The recording's shortest interval, by its format."""

SHARES = (5, 10, 10, 75)
"""Of the work, roughly: alerts, coarse look at rollouts, fine look, windows."""

SCRAPES = 2.5
"""Scrape intervals that a rate looks back on at least: it needs two samples, and one may come late."""


class HistoryError(Exception):
    """No recording can be made of this; the message says what to do."""


Tell = Callable[[str], None]
Window = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """One stretch of time of one workload that is read."""

    workload: Key
    start: datetime
    end: datetime


async def from_prometheus(
    client: PrometheusClient,
    start: datetime,
    end: datetime,
    *,
    step: timedelta,
    policy: Policy,
    known: Sequence[RolloutSeen] = (),
    progress: Progress = lambda done, total: None,
    tell: Tell = lambda warning: None,
) -> Recording:
    """The recording of start..end, sampled every `step` (whole seconds, 10 s to 5 min).

    `known` are rollouts that somebody else saw, such as the daemon: those of workloads of which kube-state-metrics tells none
    (DaemonSets) are taken in. `progress` is told how much is done of how much; `tell` gets what a person should know of what is
    missing, one sentence each. Raises HistoryError where nothing can be made of the question or the answers, Transient or
    Permanent (handlers.faults) where Prometheus does not answer.
    """
    _check(start, end, step)
    reader, steps = Reader(client), Steps(progress, SHARES)
    window = max(policy.signal_window, step, SCRAPES * await _scrape_interval(reader, end, step))
    asked = past_signals.questions(await past_signals.measured_by(client, policy, start, end))
    for warning in past_signals.warnings(asked):
        tell(warning)
    signals = past_signals.Signals(reader, asked, step, timedelta(seconds=round(window.total_seconds())))
    try:
        alerts = await past_alerts.read(reader, start, end, step, steps)
    except past_alerts.TooManyAlertsError as error:
        raise HistoryError(f"{error}; take a shorter time") from None
    past = await past_rollouts.read(reader, start, end, step, steps)
    past.add(each for each in known if start <= each.at <= end)
    if not past.workloads:
        raise HistoryError(_no_workloads(start, end))
    calls = await _calls(client, reader, past, (start, end), tell)
    records: list[Record] = [*calls.edges, *past.rollouts]
    for spell, onset in alerts:
        records += past_alerts.records(spell, onset, end, step)
    spells = [spell for spell, _ in alerts]
    records += await _windows(reader, signals, calls, past, spells, (start, end), step, steps)
    for warning in _missing(past, signals, calls):
        tell(warning)
    steps.end()
    return recording(f"{start:%Y-%m-%dT%H:%M:%SZ}..{end:%Y-%m-%dT%H:%M:%SZ}", records)


async def _calls(client: PrometheusClient, reader: Reader, past: Past, span: Window, tell: Tell) -> past_calls.Calls:
    """Who called whom. It is optional: where it cannot be read, the recording goes without."""
    try:
        return await past_calls.read(client, reader, past.workloads, *span)
    except Fault as fault:
        tell(f"who calls whom could not be read, so only rollouts of where it hurts are candidates: {fault.reason}")
        return past_calls.Calls()


def _check(start: datetime, end: datetime, step: timedelta) -> None:
    if end <= start:
        raise HistoryError(f"the end {end:%Y-%m-%d %H:%M}Z is not after the start {start:%Y-%m-%d %H:%M}Z")
    if end - start > SPAN_MAX:
        raise HistoryError(f"{(end - start).days} days are asked for, at most {SPAN_MAX.days}: take a shorter time")
    if step < STEP_MIN or step % timedelta(seconds=1):
        raise HistoryError(f"the step {step.total_seconds():g}s must be whole seconds, 10s at least")


def _no_workloads(start: datetime, end: datetime) -> str:
    return (
        f"Prometheus has no ReplicaSet and no StatefulSet between {start:%Y-%m-%d %H:%M}Z and {end:%Y-%m-%d %H:%M}Z:"
        " kube_replicaset_spec_replicas and kube_replicaset_owner are needed; scrape kube-state-metrics, with"
        " honor_labels: true"
    )


def _missing(past: Past, signals: past_signals.Signals, calls: past_calls.Calls) -> Iterator[str]:
    if not past.rollouts:
        yield "no rollout was found: there is nothing to blame"
        return
    for name in signals.unseen:
        yield f"signal {name} had no value for any pod: check its query, or the labels namespace and pod of its metrics"
    if calls.unread is not None:
        yield f"how often workloads ask each other could not be read everywhere, so who asks more may be missed: {calls.unread}"


async def _scrape_interval(reader: Reader, end: datetime, step: timedelta) -> timedelta:
    """How often Prometheus scrapes, by its own `up`; the recording's step where that cannot be told."""
    for at in (end, end - timedelta(days=1)):
        counts = await reader.vector(lambda _: "quantile(0.5, count_over_time(up[1h]))", at, timedelta(hours=1))
        if counts and counts[0][1] >= 2:
            return timedelta(hours=1) / counts[0][1]
    return step


async def _windows(
    reader: Reader,
    signals: past_signals.Signals,
    calls: past_calls.Calls,
    past: Past,
    spells: Sequence[Spell],
    span: Window,
    step: timedelta,
    steps: Steps,
) -> list[Record]:
    """Pods and samples of all windows. Each piece is read by itself; what pods did is told workload by workload in order."""
    pieces = list(_pieces(past, spells, span))
    steps.begin(len(pieces))
    lives: dict[_Piece, past_pods.Lives] = {}
    samples: dict[_Piece, list[SampleSeen]] = {}

    async def read(piece: _Piece) -> None:
        owners = _owners(past, piece, step)
        if owners:
            found = await past_pods.read(reader, piece.workload, owners, piece.start, piece.end, step)
            lives[piece] = found
            alive = found.alive
            samples[piece] = await signals.read(
                piece.workload, found.names, piece.start, piece.end, lambda at, pod: pod in alive.get(at, ())
            )
            if name_of(piece.workload) in rollouts:
                samples[piece] += await calls.samples(
                    reader, piece.workload, piece.start, piece.end, step, signals.window
                )
        steps.one()

    rollouts = past_pods.by_workload(past.rollouts)
    await a_few_at_once(read, pieces)
    tellers: dict[Key, past_pods.Teller] = {}
    told: list[Record] = []
    for piece in pieces:
        key = piece.workload
        if key not in tellers:
            tellers[key] = past_pods.Teller(key, rollouts.get(name_of(key), ()), _at_rest(past, key))
        if piece in lives:
            told += tellers[key].records(lives.pop(piece), step)
    # Pods before samples: at one moment it is first known which pods there are. In the order of the pieces, not of the answers.
    return [*told, *(sample for piece in pieces for sample in samples.pop(piece, ()))]


def _owners(past: Past, piece: _Piece, step: timedelta) -> Sequence[str]:
    """Whose pods are asked for: the ReplicaSets with replicas around that time, or the set itself."""
    if piece.workload[1] in ("StatefulSet", "DaemonSet"):
        return [piece.workload[2]]
    return past.replica_sets(piece.workload, piece.start - COARSE * step, piece.end, COARSE * step)


def _at_rest(past: Past, key: Key) -> str:
    """The revision that a workload without rollouts ran."""
    return past_rollouts.revision_of(key, next(iter({**past.sets, **past.active}.get(key, {})), ""))


def _pieces(past: Past, spells: Sequence[Spell], span: Window) -> Iterator[_Piece]:
    """Every stretch that is read, workload by workload in time order."""
    windows: dict[Key, list[Window]] = defaultdict(list)
    begun = [each for each in past.rollouts if each.phase == "started"]
    for each in begun:
        windows[key_of(each.workload)].append((each.at - BEFORE_ROLLOUT, each.at + AFTER_ROLLOUT))
    moments = [each.at for each in begun]
    keys = sorted(past.workloads)
    for spell in spells:
        place = bisect_left(moments, spell.first - RECENT)
        covered = place < len(moments) and moments[place] <= spell.first
        for key in past_alerts.concerned(spell, keys, covered=covered):
            windows[key].append((spell.first - past_alerts.AROUND, spell.first + past_alerts.AROUND))
    for key in sorted(windows):
        for start, end in merged(windows[key]):
            begin = max(start, span[0])
            for first, last in spans(begin, min(end, span[1]), WINDOW_MAX):
                # A moment on a border is read once.
                own = first if first == begin else first + timedelta(microseconds=1)
                yield _Piece(workload=key, start=own, end=last)
