"""`explain` tells who is near in the call graph, or that there is none, so that a missing candidate is no riddle."""

from __future__ import annotations

import pytest

from daemon.core.model import Neighbour, Workload
from handlers import explain
from tests.cli.test_story import document, told
from tests.core.builders import CART, SHOP
from tests.core.test_neighbours import CALLED, FRONT, calling


def near_line(*neighbours: Neighbour, kin: tuple[Workload, ...] = ()) -> str:
    story = calling(*neighbours, kin=kin)
    story.fires()
    text = told(document(story))
    (line,) = (line for line in text.splitlines() if line.startswith("  near "))
    return " ".join(line.split())


def test_both_sides_are_told_with_their_distance() -> None:
    """Whom it calls, who calls it, and through how many calls."""
    caller = Neighbour(workload=CART, hops=2, called=False)
    assert near_line(CALLED, caller, kin=(FRONT, SHOP)) == f"near calls {SHOP.short} (1); called by {CART.short} (2)"
    assert near_line(CALLED, kin=(FRONT, SHOP)) == f"near calls {SHOP.short} (1)"


@pytest.mark.parametrize(
    ("kin", "said"),
    [((), "near no call graph: only rollouts of where it hurts count"), ((FRONT,), "near nobody, in the call graph")],
)
def test_no_graph_is_told_apart_from_nobody_near(kin: tuple[Workload, ...], said: str) -> None:
    """The first can be mended by a setting, the second is how it is."""
    assert near_line(kin=kin) == said


def test_only_the_nearest_are_shown() -> None:
    """The rest is counted."""
    many = tuple(
        Neighbour(workload=Workload(namespace="shop", kind="Deployment", name=f"s{number}"), hops=1, called=True)
        for number in range(explain.NEAR_MAX + 3)
    )
    story = calling(*many, kin=(FRONT,))
    story.fires()
    near = document(story)["incident"]["near"]
    assert (len(near["rows"]), near["left_out"]) == (explain.NEAR_MAX, 3)
    assert "3 more are left out" in " ".join(told(document(story)).split())
