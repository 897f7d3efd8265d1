"""What happens beside the rollouts, and looks like one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Literal

from tests.bench.recordings.faults import Effect, Life
from tests.bench.recordings.landscape import Landscape
from tests.bench.recordings.lives import Pod

Confounder = Literal[
    "outage", "traffic spike", "flapping alert", "noisy neighbour", "low traffic", "clock skew", "missing series",
    "restart only", "warm-up", "neighbours roll out", "undone by hand", "silent alerts", "decoy",
    "unheard", "twice",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """Something that goes on from `begins` to `ends` (seconds since the recording began), whatever the revision."""

    name: str
    begins: float
    ends: float
    hits: Callable[[Pod], Effect | None] = lambda pod: None
    demand: float = 1.0
    """Factor of the traffic from outside at its height."""
    node: int | None = None
    """The node that is gone, for the pods' readiness."""

    def on(self, now: float) -> bool:
        """Whether it is under way."""
        return self.begins <= now < self.ends


def database_outage(rng: Random, land: Landscape, begins: float) -> Disturbance:
    """A service that many need fails or crawls: all its pods alike."""
    stores = [service.name for service in land.services if service.store]
    name = rng.choice(stores)
    effect = rng.choice(
        (
            Effect(errors=rng.uniform(0.3, 1.0), early=0.5),
            Effect(slow=rng.uniform(5.0, 40.0)),
            Effect(slow=rng.uniform(3.0, 10.0), errors=rng.uniform(0.05, 0.3)),
        )
    )
    ends = begins + rng.uniform(180.0, 1200.0)
    return Disturbance(
        name="outage", begins=begins, ends=ends, hits=lambda pod: effect if pod.service == name else None
    )


def node_outage(rng: Random, land: Landscape, begins: float) -> Disturbance:
    """A node goes: its pods hang, are no longer heard, and after a minute no longer ready."""
    node, ends = rng.randrange(land.nodes), begins + rng.uniform(180.0, 900.0)
    effect = Effect(errors=1.0, early=1.0, wait=1.0, mute="all")
    return Disturbance(
        name="outage", begins=begins, ends=ends, hits=lambda pod: effect if pod.node == node else None, node=node
    )


def network_trouble(rng: Random, land: Landscape, begins: float) -> Disturbance:
    """Several services at once, all their pods alike: DNS, a switch, a certificate."""
    names = set(
        rng.sample([service.name for service in land.services], rng.randint(2, max(2, len(land.services) // 2)))
    )
    effect = Effect(errors=rng.uniform(0.05, 0.6), wait=rng.choice((0.0, 0.2, 1.0)), early=0.5)
    ends = begins + rng.uniform(120.0, 900.0)
    return Disturbance(
        name="outage", begins=begins, ends=ends, hits=lambda pod: effect if pod.service in names else None
    )


OUTAGES = (database_outage, node_outage, network_trouble)


def lose_node(rng: Random, disturbance: Disturbance, pods: Iterable[Pod]) -> None:
    """What the API server says of the pods of a node that is gone: not ready after a minute, ready again when it is back."""
    lost = disturbance.begins + rng.uniform(35.0, 70.0)
    for pod in pods:
        if pod.node != disturbance.node or pod.born > lost or not _ready(pod, lost):
            continue
        restarts = max(life.restarts for life in pod.lives if life.at <= lost)
        back = disturbance.ends + rng.uniform(0.0, 30.0)
        kept = [life for life in pod.lives if life.at <= lost or life.at > back]
        kept += [Life(at=lost, ready=False, restarts=restarts), Life(at=back, ready=True, restarts=restarts)]
        pod.lives = sorted(kept, key=lambda life: life.at)


def _ready(pod: Pod, now: float) -> bool:
    return [life for life in pod.lives if life.at <= now][-1].ready


def traffic_spike(rng: Random, land: Landscape, begins: float) -> Disturbance:
    """More requests from outside than on a quiet day, for some minutes."""
    return Disturbance(
        name="traffic spike", begins=begins, ends=begins + rng.uniform(300.0, 1500.0), demand=rng.uniform(1.3, 2.4)
    )


def noisy_neighbour(rng: Random, pod: Pod, begins: float) -> Disturbance:
    """One pod, and whoever shares its node, is slow for a while."""
    slow, alone = rng.uniform(1.8, 4.0), rng.random() < 0.3
    effect = Effect(slow=slow, cpu=rng.uniform(1.0, 1.4))
    mild = Effect(slow=1 + (slow - 1) * rng.uniform(0.3, 1.0))

    def hits(other: Pod) -> Effect | None:
        if other.name == pod.name:
            return effect
        return mild if other.node == pod.node and not alone and other.service != pod.service else None

    return Disturbance(name="noisy neighbour", begins=begins, ends=begins + rng.uniform(240.0, 1500.0), hits=hits)


def unheard(service: str, revision: str, until: float) -> Disturbance:
    """A sound revision that monitoring does not know: another port, another label. It serves, and no sample comes of it."""
    effect = Effect(mute="all")

    def hits(pod: Pod) -> Effect | None:
        return effect if pod.service == service and pod.revision == revision else None

    return Disturbance(name="unheard", begins=0.0, ends=until, hits=hits)


def warm_up(rng: Random) -> Callable[[Pod, float], Effect | None]:
    """New pods are slow for their first one or two minutes, and fail a request now and then."""
    seconds, slow = rng.uniform(50.0, 125.0), rng.uniform(1.5, 5.0)
    effect = Effect(slow=slow, busy=rng.uniform(0.0, 0.3), errors=rng.choice((0.0, 0.0, 0.01, 0.03)))

    def felt(pod: Pod, now: float) -> Effect | None:
        started = pod.started(now)
        return effect if started >= 0 and now - started < seconds else None

    return felt
