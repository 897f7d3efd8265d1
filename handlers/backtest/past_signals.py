"""The signals of pods within a window: the policy's own, by whatever metrics this Prometheus had, and CPU and memory.

Each signal is one query for all pods of the window (by_pod); where its query cannot be asked so, one for each pod.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.core.policy import SATURATION_SIGNALS, Policy, SignalKind, SignalRule
from handlers.backtest.by_pod import ByPod, by_pod
from handlers.backtest.past_rollouts import Key, name_of
from handlers.backtest.reading import Reader
from handlers.backtest.recording import SampleSeen
from handlers.faults import FaultKind, Permanent
from handlers.prometheus import PODS_MAX, Matrix, PrometheusClient, render
from handlers.signal_presets import Existing, ways
from handlers.signal_search import laid_over, search, together
from handlers.signal_sources import SOURCE_LABEL, Alternative, alternatives_of, chosen, united

Points = Sequence[tuple[datetime, float]]

TRAFFIC = "traffic_rate"
WEIGHED = frozenset({"error_ratio", "latency_seconds"})
"""Signals that are measured on requests, so that it matters how many there were."""

NAMES = {
    SignalKind.TRAFFIC: TRAFFIC,
    SignalKind.ERROR_RATIO: "error_ratio",
    SignalKind.LATENCY: "latency_seconds",
    SignalKind.LATENCY_P95: "latency_seconds",
    SignalKind.LATENCY_P99: "latency_seconds",
    SignalKind.CPU: "cpu_ratio",
    SignalKind.MEMORY: "memory_ratio",
}
"""The name in a recording. Of several signals that mean the same the first by the order above is read."""

SEARCHES = 4
"""How often in the history it is looked which metrics there are: teams change them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One signal of the recording: its rule, and per source of its query how it is asked for all pods at once.

    `parts` is empty where none can be asked so: then the rule's query is asked for one pod after the other.
    """

    signal: str
    rule: SignalRule
    parts: Mapping[str, ByPod]

    @property
    def query(self) -> str:
        """One query for all pods and sources."""
        if list(self.parts) == [""]:
            return self.parts[""].query
        return united([Alternative(source=source, query=part.query) for source, part in self.parts.items()])


async def measured_by(
    client: PrometheusClient, policy: Policy, start: datetime, end: datetime
) -> tuple[SignalRule, ...]:
    """The policy's signals, CPU and memory, the defaults among them by the metrics that this Prometheus had.

    Raises Transient or Permanent.
    """
    existing = Existing()
    for number in range(SEARCHES + 1):
        existing = together(existing, await search(client, start + (end - start) * number / SEARCHES))
    kinds = {rule.kind for rule in policy.signals}
    wanted = (*policy.signals, *(rule for rule in SATURATION_SIGNALS if rule.kind not in kinds))
    return laid_over(wanted, ways(existing))


def questions(rules: Iterable[SignalRule]) -> tuple[Question, ...]:
    """What is asked of every window: one rule for each of the recording's signals, traffic first."""
    found: dict[str, Question] = {}
    order = list(NAMES)
    for rule in sorted(rules, key=lambda rule: order.index(rule.kind)):
        name = NAMES[rule.kind]
        if name not in found:
            sources = {each.source: by_pod(each.query) for each in alternatives_of(rule.query)}
            parts = {source: part for source, part in sources.items() if part is not None}
            found[name] = Question(signal=name, rule=rule, parts=parts)
    return tuple(found.values())


def _names_pods(question: Question) -> bool:
    return bool(question.parts) or "$pods" in question.rule.query


def warnings(asked: Iterable[Question]) -> Iterable[str]:
    """What a person should know of the questions before they are asked."""
    for each in asked:
        if not _names_pods(each):
            yield (
                f"signal {each.rule.name} is left out: its query holds no $pods, so that pods cannot be told apart;"
                ' write pod=~"$pods"'
            )
        elif not each.parts:
            yield f"signal {each.rule.name} is asked for one pod at a time, because of its query's functions; it takes longer"


class Signals:
    """Reads the samples of windows."""

    def __init__(self, reader: Reader, asked: Iterable[Question], step: timedelta, window: timedelta) -> None:
        """`window` is what a rate looks back on; it holds two scrapes at least."""
        self._reader = reader
        self._step = step
        self.window = window
        self._asked = tuple(each for each in asked if _names_pods(each))
        self.seen: set[str] = set()

    @property
    def unseen(self) -> Sequence[str]:
        """Rules that never had a value."""
        return [each.rule.name for each in self._asked if each.signal not in self.seen]

    async def read(
        self,
        workload: Key,
        pods: Sequence[str],
        start: datetime,
        end: datetime,
        wanted: Callable[[datetime, str], bool],
    ) -> list[SampleSeen]:
        """The samples of these pods at the moments at which they are `wanted`. Raises Transient or Permanent."""
        found: list[SampleSeen] = []
        requests: dict[tuple[datetime, str], float] = {}
        name, seconds = name_of(workload), self._step.total_seconds()
        for asked in self._asked:
            for pod, samples in await self._series(asked, workload[0], pods, start, end):
                for at, value in samples:
                    if not wanted(at, pod):
                        continue
                    if asked.signal == TRAFFIC:
                        requests[at, pod] = value * seconds
                    weight = requests.get((at, pod)) if asked.signal in WEIGHED else None
                    found.append(
                        SampleSeen(at=at, signal=asked.signal, workload=name, pod=pod, value=value, weight=weight)
                    )
                    self.seen.add(asked.signal)
        return found

    async def _series(
        self, asked: Question, namespace: str, pods: Sequence[str], start: datetime, end: datetime
    ) -> list[tuple[str, Points]]:
        if not asked.parts:
            found = [(pod, await self._ask(asked.rule.query, namespace, [pod], start, end)) for pod in pods]
            return [(pod, samples) for pod, matrix in found for _, samples in _one(asked, matrix)]
        by_pod: dict[str, dict[str, Points]] = defaultdict(dict)
        for first in range(0, len(pods), PODS_MAX):
            for labels, samples in await self._ask(asked.query, namespace, pods[first : first + PODS_MAX], start, end):
                source = labels.get(SOURCE_LABEL, "")
                pod = labels.get(asked.parts[source].label) if source in asked.parts else None
                if pod is None:
                    continue  # a number of its own, like that of `vector(0)`
                if source in by_pod[pod]:
                    raise _several(asked)
                by_pod[pod][source] = samples
        # All pods of a window by the same source: a mesh's latency against an application's own would be no comparison.
        source = chosen(asked.query, list(by_pod.values())) or ""
        return [(pod, sources[source]) for pod, sources in by_pod.items() if source in sources]

    async def _ask(self, query: str, namespace: str, pods: Sequence[str], start: datetime, end: datetime) -> Matrix:
        filled = render(query, namespace=namespace, pods=pods, window=self.window)
        return await self._reader.matrix(filled, start, end, self._step)


def _one(asked: Question, matrix: Matrix) -> Matrix:
    if len(matrix) > 1:
        raise _several(asked)
    return matrix


def _several(asked: Question) -> Permanent:
    return Permanent(f"policy.signals.{asked.rule.name} gives several series for one pod: aggregate", FaultKind.INVALID)
