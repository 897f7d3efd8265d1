"""How people name a revision: previous, number, tag or reference, hash; several where it is not clear."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.model import Revision, RevisionId
from daemon.core.revision_names import named
from daemon.core.state import Tracked
from tests.core.builders import V1, V2, V3, a_view
from tests.core.story import Story

TWIN = replace(
    V1, id=RevisionId("99hash"), number=9, images=("other.example/checkout:v2",), replica_set="checkout-9abc"
)


def shop() -> Tracked:
    """v1 → v2 → v3, and a second build tagged v2."""
    story = Story()
    story.starts()
    story.sees(a_view(V2, history=(V1, V2)))
    story.sees(a_view(V3, history=(V1, V2, V3, TWIN)))
    (tracked,) = story.state.workloads.values()
    return tracked


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("previous", [V2]),
        ("1", [V1]),
        ("v1", [V1]),
        ("registry.example/checkout:v1", [V1]),
        ("checkout:v1", [V1]),
        ("v2", [TWIN, V2]),
        ("11hash", [V1]),
        ("11ha", [V1]),
        ("9abc", [TWIN]),
        ("11", []),  # no number, and too short for a hash
        ("v7", []),
    ],
)
def test_a_revision_by_its_names(text: str, meant: list[Revision]) -> None:
    """The first way of reading it that finds something wins; the newest comes first."""
    assert [revision.id for revision in named(shop(), text)] == [revision.id for revision in meant]


def test_a_pinned_image_by_its_digest() -> None:
    """A template that pins its image is found by the digest."""
    tracked = shop()
    pinned = replace(V1, images=("registry.example/checkout@sha256:abc",))
    tracked = replace(tracked, view=replace(tracked.view, history=(pinned, V2, V3)))
    assert named(tracked, "sha256:abc") == (pinned,)


def test_previous_without_a_known_rollout_or_history() -> None:
    """Nothing is meant where nothing was replaced, or where the history forgot it."""
    tracked = shop()
    assert named(replace(tracked, rollout=None), "previous") == ()
    assert named(replace(tracked, view=replace(tracked.view, history=(V1, V3))), "previous") == ()
    numberless = replace(V1, number=None, replica_set=None)
    assert named(replace(tracked, view=replace(tracked.view, history=(numberless,))), "zzzz") == ()
