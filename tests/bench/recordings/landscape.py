"""The world before anything happens: services in a call graph, from what people open down to the databases."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random

from tests.bench.recordings import chance
from tests.bench.recordings.ranges import Ranges

FRONTS = ("storefront", "gateway", "mobile-api")
MIDDLES = (
    "basket", "catalog", "pricing", "payment", "shipping", "reviews", "search", "profile", "suggestions", "stock",
    "mailer", "loyalty", "tax", "images", "audit", "sessions", "coupons", "checkout",
)  # fmt: skip
STORES = ("orders-db", "items-db", "cache", "ledger", "queue")
NAMESPACES = ("shop", "prod", "web", "apps")
OTHER_NAMESPACES = ("data", "backend", "core")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One service calls another."""

    callee: str
    each: float
    """Calls per request."""
    needed: float
    """0..1: how much of a failed call is a failed request; below 1 there is some fallback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Deployment and how it does on a quiet day. `rate` is what one of its `pods` then gets, in requests per second."""

    name: str
    namespace: str
    pods: int
    latency: float
    """Its own part of the 95th percentile, seconds, without its callees."""
    errors: float
    cpu: float
    memory: float
    rate: float
    timeout: float
    """Seconds its callers wait for it."""
    calls: tuple[Call, ...]
    store: bool

    @property
    def workload(self) -> str:
        """`namespace/Kind/name`."""
        return f"{self.namespace}/Deployment/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """The services, callers before callees. `entries` are the shares of the `rate` from outside (requests per second)."""

    services: tuple[Service, ...]
    entries: dict[str, float]
    rate: float
    nodes: int
    names_by_number: bool

    def service(self, name: str) -> Service:
        """The one of that name."""
        return next(each for each in self.services if each.name == name)

    def callers(self, name: str) -> tuple[str, ...]:
        """Who calls it."""
        return tuple(each.name for each in self.services if any(call.callee == name for call in each.calls))


def landscape(rng: Random, ranges: Ranges, *, low_traffic: bool) -> Landscape:
    """A world of its own."""
    layers = _layers(rng, chance.whole(rng, ranges.services))
    calls = _calls(rng, ranges, layers)
    entries = {name: rng.uniform(0.5, 1.0) for name in layers[0]}
    rate = chance.log_between(rng, ranges.low_rate if low_traffic else ranges.entry_rate)
    rates = _rates(layers, calls, {name: share * rate for name, share in entries.items()})
    namespaces = [rng.choice(NAMESPACES)] + ([rng.choice(OTHER_NAMESPACES)] if rng.random() < 0.4 else [])
    services = tuple(
        _service(rng, ranges, name, rng.choice(namespaces), rates[name], calls[name], store=number == len(layers) - 1)
        for number, layer in enumerate(layers)
        for name in layer
    )
    return Landscape(
        services=services, entries=entries, rate=rate, nodes=rng.randint(4, 9), names_by_number=rng.random() < 0.3
    )


def _layers(rng: Random, count: int) -> list[list[str]]:
    """Names in layers: fronts, two or three layers between, stores."""
    fronts = rng.sample(FRONTS, 2 if count >= 8 and rng.random() < 0.25 else 1)
    stores = rng.sample(STORES, 1 if count < 8 else rng.randint(1, 2))
    middles = rng.sample(MIDDLES, count - len(fronts) - len(stores))
    between: list[list[str]] = [[] for _ in range(2 if len(middles) < 6 else rng.randint(2, 3))]
    for number, name in enumerate(middles):
        between[number if number < len(between) else rng.randrange(len(between))].append(name)
    return [fronts, *between, stores]


def _calls(rng: Random, ranges: Ranges, layers: list[list[str]]) -> dict[str, list[Call]]:
    """Everyone below the front has a caller in the layer above; some have more, some skip a layer."""
    calls: dict[str, list[Call]] = {name: [] for layer in layers for name in layer}

    def add(caller: str, callee: str) -> None:
        if all(call.callee != callee for call in calls[caller]):
            needed = rng.uniform(0.8, 1.0) if rng.random() < 0.6 else rng.uniform(0.05, 0.4)
            calls[caller].append(Call(callee=callee, each=chance.between(rng, ranges.calls_each), needed=needed))

    for above, layer in pairwise(layers):
        for name in layer:
            add(rng.choice(above), name)
        for name in above:
            if rng.random() < 0.35 or not calls[name]:
                add(name, rng.choice(layer))
    for above, layer in zip(layers, layers[2:], strict=False):
        for name in above:
            if rng.random() < 0.2:
                add(name, rng.choice(layer))
    return calls


def _rates(layers: list[list[str]], calls: dict[str, list[Call]], entries: dict[str, float]) -> dict[str, float]:
    """Requests per second of each service when all is well."""
    rates = {name: entries.get(name, 0.0) for layer in layers for name in layer}
    for name in [name for layer in layers for name in layer]:
        for call in calls[name]:
            rates[call.callee] += rates[name] * call.each
    return rates


def _service(
    rng: Random, ranges: Ranges, name: str, namespace: str, rate: float, calls: list[Call], *, store: bool
) -> Service:
    pods = chance.whole(rng, ranges.pods)
    return Service(
        name=name,
        namespace=namespace,
        pods=pods,
        latency=chance.log_between(rng, (0.004, 0.05) if store else (0.01, 0.25)),
        errors=chance.log_between(rng, (0.00005, 0.004)),
        cpu=rng.uniform(0.15, 0.6),
        memory=rng.uniform(0.3, 0.7),
        rate=rate / pods,
        timeout=rng.uniform(1.0, 8.0),
        calls=tuple(calls),
        store=store,
    )


def letters(rng: Random, count: int) -> str:
    """As Kubernetes names pods and ReplicaSets: no vowels, nothing to mistake."""
    return "".join(rng.choices("bcdfghjklmnpqrstvwxz2456789", k=count))


def revision_name(rng: Random) -> str:
    """A hash."""
    return "".join(rng.choices("0123456789abcdef", k=10))
