"""The metrics that tell who calls whom: of service meshes, and of traces. Which of them exist, handlers.call_search asks.

Names and labels are those of their own documentation: Istio's standard metrics, Linkerd's proxy metrics (a proxy's outbound
series name both ends; the caller's labels come from the scrape configuration that Linkerd gives), and the service graph that the
OpenTelemetry collector's connector and Tempo make of traces. That one names services and no workloads: its names are tried as
such, and the dimension `k8s.namespace.name` says where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from handlers.prometheus import seconds
from handlers.signal_presets import GRPC_NUMBERS

WINDOW = timedelta(minutes=10)
"""A call counts that was made in this time: two searches long, and some scrapes whatever their interval."""

EDGES_MAX = 2_000
"""Calls that one source may tell, the busiest first: ten callees of 200 workloads each. The answer is some 500 kB."""

TRIED_AGAIN = f"8|{GRPC_NUMBERS}"
"""gRPC's codes of calls that are tried again: the server's faults, and RESOURCE_EXHAUSTED."""

SIDE, ASKED, SERVED = "lastgood_side", "asked", "served"
"""The label that tells, of a pair of ends, the calls of the one from the requests of the other."""

UNKNOWN = "unknown"
"""What Istio writes where an end is outside of the mesh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a call, as a metric names it; namespace and kind are empty where it does not tell them."""

    name: str
    namespace: str = ""
    kind: str = ""


Call = tuple[End, End]
"""Caller and callee."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLabels:
    """The labels of one end: those of its name, each with the kind that it stands for, and that of its namespace."""

    names: tuple[tuple[str, str], ...]
    namespace: str

    @property
    def all(self) -> tuple[str, ...]:
        """Every label that is read."""
        return (*(label for label, _ in self.names), self.namespace)

    def end(self, labels: Mapping[str, str]) -> End | None:
        """The end that a series names; None where it names none."""
        named = ((labels.get(label, ""), kind) for label, kind in self.names)
        name, kind = next(((name, kind) for name, kind in named if name not in ("", UNKNOWN)), ("", ""))
        namespace = labels.get(self.namespace, "")
        return End(name=name, namespace="" if namespace == UNKNOWN else namespace, kind=kind) if name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMetric:
    """A counter with a series per pair of ends. `only` are the matchers of those that count as calls.

    `serves` are those of what an end serves, whoever asks; None where it counts connections, of which one bears many requests.
    `fine` are those of calls that did not fail; `failed` is the counter of those that did, where it is one of its own.
    `heard` are those of requests as the end tells that is asked, by whatever caller, named or not; None where it tells none.
    """

    source: str
    name: str
    caller: EndLabels
    callee: EndLabels
    only: tuple[str, ...] = ()
    serves: tuple[str, ...] | None = None
    fine: tuple[str, ...] = ()
    failed: str = ""
    heard: tuple[str, ...] | None = None

    def query(self, window: timedelta = WINDOW) -> str:
        """PromQL for the calls of the last `window`: one more than may be, to see that there are too many."""
        labels = ", ".join((*self.caller.all, *self.callee.all))
        series = f"{self.name}{{{','.join(self.only)}}}[{seconds(window)}]"
        return f"topk({EDGES_MAX + 1}, sum by ({labels}) (rate({series})) > 0)"

    def around(self, names: str, window: timedelta) -> str:
        """PromQL for requests/s by pair of ends, each with its SIDE: what these asked without failing, and all that they served.

        `names` is an RE2 expression. A call that failed may be tried again, and those tries are its callee's doing.
        """
        asked = self._rates(self.name, (*self.only, *self.fine), self.caller, names, window)
        if self.failed:
            asked = f"({asked} - ({self._rates(self.failed, self.only, self.caller, names, window)} or 0 * {asked}))"
        served = self._rates(self.name, self.serves or (), self.callee, names, window)
        sides = ((ASKED, asked), (SERVED, served))
        return " or ".join(f'label_replace({rates}, "{SIDE}", "{side}", "", "")' for side, rates in sides)

    def reaching(self, names: str, window: timedelta) -> str:
        """PromQL for requests/s by pair of ends, failed or not, as those tell who are asked: `names`, an RE2 expression."""
        return self._rates(self.name, self.heard or (), self.callee, names, window)

    def _rates(self, name: str, matchers: tuple[str, ...], end: EndLabels, names: str, window: timedelta) -> str:
        """By pair of ends, where one of the `end`'s names is meant. Both sides of a call may report it: then it is one call."""
        selectors = (",".join((*matchers, f'{label}=~"{names}"')) for label, _ in end.names)
        rates = " or ".join(f"rate({name}{{{each}}}[{seconds(window)}])" for each in selectors)
        labels = ", ".join((*self.caller.all, *self.callee.all))
        return f"max by ({labels}) (sum by ({labels}, reporter) ({rates}))"

    def call(self, labels: Mapping[str, str]) -> Call | None:
        """The call that a series of the answer tells; None where an end is not named."""
        caller, callee = self.caller.end(labels), self.callee.end(labels)
        return None if caller is None or callee is None else (caller, callee)


def _istio(name: str, *, requests: bool = True) -> CallMetric:
    """Whoever reports it: a callee that is down reports nothing, and a waypoint speaks for both."""
    caller, callee = (
        EndLabels(names=((f"{end}_workload", ""),), namespace=f"{end}_workload_namespace")
        for end in ("source", "destination")
    )
    only = tuple(f'{labels.names[0][0]}!~"|{UNKNOWN}"' for labels in (caller, callee))
    serves = only[1:] if requests else None
    fine = ('response_code!~"5..|0"', f'grpc_response_status!~"{TRIED_AGAIN}"') if requests else ()
    heard = ('reporter="destination"',) if requests else None
    return CallMetric(
        source="istio", name=name, caller=caller, callee=callee, only=only, serves=serves, fine=fine, heard=heard
    )


_CONTROLLERS = (("deployment", "Deployment"), ("statefulset", "StatefulSet"), ("daemonset", "DaemonSet"))


def _linkerd(name: str, *only: str, requests: bool = True) -> CallMetric:
    only = ('direction="outbound"', 'dst_namespace!=""', *only)
    return CallMetric(
        source="linkerd",
        name=name,
        caller=EndLabels(names=_CONTROLLERS, namespace="namespace"),
        callee=EndLabels(
            names=tuple((f"dst_{label}", kind) for label, kind in _CONTROLLERS), namespace="dst_namespace"
        ),
        only=only,
        serves=only if requests else None,
        fine=('classification!="failure"',) if requests else (),
    )


def _traced(end: str) -> EndLabels:
    """The service, and its workload where that is a dimension. `service.namespace` is no word of Kubernetes' and not read."""
    names = tuple((f"{end}_k8s_{label}_name", kind) for label, kind in _CONTROLLERS)
    return EndLabels(names=(*names, (end, "")), namespace=f"{end}_k8s_namespace_name")


METRICS = (
    _istio("istio_requests_total"),
    _istio("istio_tcp_connections_opened_total", requests=False),
    _linkerd("response_total"),
    _linkerd("tcp_open_total", 'peer="dst"', requests=False),
    CallMetric(
        source="traces",
        name="traces_service_graph_request_total",
        caller=_traced("client"),
        callee=_traced("server"),
        # The name of a database is none of a service.
        only=('connection_type!="database"',),
        serves=('connection_type!="database"',),
        failed="traces_service_graph_request_failed_total",
    ),
)

SOURCES = tuple(dict.fromkeys(metric.source for metric in METRICS))


def wanted() -> str:
    """A selector of all series that may tell a call."""
    return f'{{__name__=~"{"|".join(metric.name for metric in METRICS)}"}}'
