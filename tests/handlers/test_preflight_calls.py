"""Preflight tells who is near to a workload, and what of policy.calls cannot be meant."""

from __future__ import annotations

from dataclasses import replace

from daemon.core.model import Workload
from handlers.call_graph import CallGraph
from handlers.preflight import calls
from handlers.preflight.lines import Level, Line
from tests.core.builders import CART, SHOP, V1, a_policy, a_view
from tests.core.story import Story
from tests.handlers.preflight_world import World

FRONT = Workload(namespace="shop", kind="Deployment", name="front")
SET = replace(CART, kind="StatefulSet")


async def line(*declared: tuple[Workload, Workload], graph: CallGraph | None = None) -> Line:
    """What is said of the shop, where CART and FRONT are known as Deployments."""
    story = Story(policy=a_policy(calls=declared))
    story.proves_v1()
    for workload in (CART, FRONT):
        story.sees(a_view(workload=workload, uid=f"uid-{workload.name}", current=replace(V1, uid=workload.name)))
    world = World(story)
    (found,) = await calls.calls(replace(world.sources(), calls=lambda: graph), world.subject())
    return found


async def test_without_a_graph_it_is_fine_and_says_what_that_costs() -> None:
    """The graph is optional."""
    found = await line()
    assert (found.level, found.check) == (Level.OK, calls.CHECK)
    assert "only rollouts of where it hurts" in found.says


async def test_callees_and_callers_are_named() -> None:
    """Those one call away, on each side; of many the first ones."""
    found = await line(graph=CallGraph([(SHOP, CART), (FRONT, SHOP)]))
    assert found.says == f"it calls {CART.short}; called by {FRONT.short}"
    many = [(replace(FRONT, name=f"front-{number}"), SHOP) for number in range(calls.SHOWN_MAX + 2)]
    found = await line(graph=CallGraph(many))
    assert found.says.startswith("it calls nobody; called by shop/front-0, ")
    assert found.says.endswith(" and 2 more")


async def test_a_declared_stranger_is_a_warning() -> None:
    """A slip or another kind; those of other workloads are theirs to tell."""
    found = await line((SHOP, SET), (SHOP, CART), graph=CallGraph([(SHOP, CART)]))
    assert found.level is Level.WARNING
    assert f"names {SET.key}, which" in found.says
    assert found.remedy
    own = await line((replace(SHOP, kind="StatefulSet"), CART))
    assert (own.level, "shop/StatefulSet/" in own.says) == (Level.WARNING, True)
    assert (await line((FRONT, SET))).level is Level.OK
