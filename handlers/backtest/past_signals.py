"""The signals of pods within a window: the policy's own, and CPU and memory against their limits where it names none.

Each signal is one query for all pods of the window (by_pod); where its query cannot be asked so, one for each pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.core.policy import Policy, SignalKind, SignalRule
from handlers.backtest.by_pod import ByPod, by_pod, pods_label
from handlers.backtest.past_rollouts import Key, name_of
from handlers.backtest.reading import Reader
from handlers.backtest.recording import SampleSeen
from handlers.faults import FaultKind, Permanent
from handlers.prometheus import PODS_MAX, Matrix, render

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

_POD = 'namespace="$namespace",pod=~"$pods"'
_USED = f'rate(container_cpu_usage_seconds_total{{{_POD},container!="",container!="POD"}}[$window])'
_HELD = f'container_memory_working_set_bytes{{{_POD},container!="",container!="POD"}}'
_LIMIT = "max by (pod, container) (kube_pod_container_resource_limits{{" + _POD + ',resource="{resource}"}})'


def _against_limit(used: str, resource: str) -> str:
    """The container that is nearest to its limit tells for its pod: a sidecar without work must not hide it."""
    limit = _LIMIT.replace("{{", "{").replace("}}", "}").replace("{resource}", resource)
    return f"max(sum by (pod, container) ({used}) / on (pod, container) ({limit} > 0))"


SATURATION = (
    SignalRule(name="cpu_ratio", kind=SignalKind.CPU, query=_against_limit(_USED, "cpu")),
    SignalRule(name="memory_ratio", kind=SignalKind.MEMORY, query=_against_limit(_HELD, "memory")),
)
"""cAdvisor's usage against the limit that kube-state-metrics tells; pods without limits have no such signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One signal of the recording: the rule's template as it is, and for all pods at once where that can be asked."""

    signal: str
    rule: SignalRule
    together: ByPod | None


def questions(policy: Policy) -> tuple[Question, ...]:
    """What is asked of every window: one rule for each of the recording's signals, traffic first."""
    found: dict[str, Question] = {}
    order = list(NAMES)
    for rule in sorted((*policy.signals, *SATURATION), key=lambda rule: order.index(rule.kind)):
        name = NAMES[rule.kind]
        if name not in found:
            found[name] = Question(signal=name, rule=rule, together=by_pod(rule.query))
    return tuple(found.values())


def warnings(asked: Iterable[Question]) -> Iterable[str]:
    """What a person should know of the questions before they are asked."""
    for each in asked:
        if pods_label(each.rule.query) is None:
            yield (
                f"policy.signals.{each.rule.name} is left out: its query compares no label with $pods, so that pods cannot"
                ' be told apart; write pod=~"$pods"'
            )
        elif each.together is None:
            yield f"policy.signals.{each.rule.name} is asked for one pod at a time, because of its functions; it takes longer"


class Signals:
    """Reads the samples of windows."""

    def __init__(self, reader: Reader, policy: Policy, step: timedelta, window: timedelta) -> None:
        """`window` is what a rate looks back on; it holds two scrapes at least."""
        self._reader = reader
        self._step = step
        self._window = window
        self._asked = tuple(each for each in questions(policy) if pods_label(each.rule.query) is not None)
        self.seen: set[str] = set()

    @property
    def queries(self) -> int:
        """Per window, where no signal is asked for pod by pod."""
        return len(self._asked)

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
    ) -> list[tuple[str, Sequence[tuple[datetime, float]]]]:
        if asked.together is None:
            return [
                (pod, samples)
                for pod in pods
                for _, samples in _one(asked, await self._ask(asked.rule.query, namespace, [pod], start, end))
            ]
        found: dict[str, Sequence[tuple[datetime, float]]] = {}
        for first in range(0, len(pods), PODS_MAX):
            some = pods[first : first + PODS_MAX]
            for labels, samples in await self._ask(asked.together.query, namespace, some, start, end):
                pod = labels.get(asked.together.label)
                if pod is None:
                    continue  # a number of its own, like that of `vector(0)`
                if pod in found:
                    raise _several(asked)
                found[pod] = samples
        return list(found.items())

    async def _ask(self, query: str, namespace: str, pods: Sequence[str], start: datetime, end: datetime) -> Matrix:
        filled = render(query, namespace=namespace, pods=pods, window=self._window)
        return await self._reader.matrix(filled, start, end, self._step)


def _one(asked: Question, matrix: Matrix) -> Matrix:
    if len(matrix) > 1:
        raise _several(asked)
    return matrix


def _several(asked: Question) -> Permanent:
    return Permanent(f"policy.signals.{asked.rule.name} gives several series for one pod: aggregate", FaultKind.INVALID)
