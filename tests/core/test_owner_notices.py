"""A GitOps controller knows what it reconciled, not which workload: its notices find the workloads that carry its mark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.events import Noticed
from daemon.core.facts import NoticeAttached
from daemon.core.model import Owner, OwnerKind, Workload
from daemon.core.notices import Notice, NoticeStatus
from tests.core.builders import CART, HOUR, MINUTE, NOON, SECOND, SHOP, V1, V2, V3, a_rollout_view, a_view
from tests.core.story import Story

APPS = Owner(kind=OwnerKind.FLUX, name="Kustomization flux-system/apps")
OTHER = Owner(kind=OwnerKind.FLUX, name="Kustomization flux-system/infra")


def told(name: str = "1", **changes: Any) -> Notice:
    """Flux says that it applied commit c1, a few seconds after the rollout began."""
    values: dict[str, Any] = {
        "source": "flux",
        "id": name,
        "status": NoticeStatus.SUCCEEDED,
        "at": NOON + 5 * SECOND,
        "owner": APPS,
        "commit": "c1",
    }
    return Notice(**(values | changes))


def hears(story: Story, notice: Notice) -> None:
    story.plays(Noticed(at=story.now, notice=notice))


def of(story: Story, workload: Workload = SHOP) -> list[str]:
    return [notice.id for notice in story.state.workloads[workload.key].notices]


def rolled_out(owner: Owner | None = APPS) -> Story:
    """The shop of this owner goes to v2 at NOON."""
    story = Story()
    story.proves_v1(owner=owner)
    story.rolls_out(owner=owner)
    return story


def with_cart(story: Story, owner: Owner | None = APPS) -> None:
    """Another workload, which rolls out with the shop."""
    story.sees(a_view(workload=CART, uid="uid-2", owner=owner))
    story.sees(a_rollout_view(workload=CART, uid="uid-2", owner=owner))


@pytest.mark.parametrize("first", ["notice", "rollout"])
def test_it_finds_every_workload_of_the_owner(first: str) -> None:
    """In either order, and only those of the owner: another owner's, and nobody's, hear nothing."""
    story = Story()
    story.proves_v1(owner=APPS)
    story.now = NOON + 5 * SECOND
    if first == "notice":
        hears(story, told())
    story.rolls_out(owner=APPS, started_at=NOON)
    with_cart(story, owner=OTHER if first == "notice" else APPS)
    if first == "rollout":
        hears(story, told())
    assert of(story) == ["1"]
    assert of(story, CART) == ([] if first == "notice" else ["1"])
    assert list(story.state.waiting) == ["flux/1"], "the next workload of the owner may roll out in a minute"
    assert story.replayed() == story.state


@pytest.mark.parametrize("owner", [None, OTHER, Owner(kind=OwnerKind.ARGO_CD, name=APPS.name)])
def test_without_the_mark_nothing_is_said(owner: Owner | None) -> None:
    """Another owner, another kind of owner of the same name, or none."""
    story = rolled_out(owner)
    hears(story, told())
    assert of(story) == []


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"at": NOON - 10 * SECOND}, True),
        ({"at": NOON - 11 * SECOND}, False),  # a named workload may be told of a quarter of an hour before
        ({"status": NoticeStatus.STARTED}, True),
        ({"status": NoticeStatus.STARTED, "at": NOON + 3 * MINUTE}, False),
        ({"digests": ("sha256:9",)}, True),  # of pods that are being replaced
        ({"digests": ("sha256:2",), "at": NOON - HOUR}, False),  # of a workload that did not change then
        ({"images": ("registry.example/cart:v7", "registry.example/checkout:v1")}, True),
        ({"workload": SHOP}, True),
        ({"workload": CART}, False),
    ],
)
def test_the_mark_and_the_time(changes: dict[str, Any], fits: bool) -> None:
    """The owner tells after it applied; which images its pods run neither draws a rollout in nor excludes it."""
    story = rolled_out()
    hears(story, told(**changes))
    assert (of(story) == ["1"]) is fits


def test_the_next_commit_is_not_said_of_this_rollout() -> None:
    """An owner tells of every commit, and most leave most of its workloads alone."""
    story = rolled_out()
    hears(story, told("c1 begins", status=NoticeStatus.STARTED))
    hears(story, told("c2 ended", commit="c2", at=NOON + 3 * MINUTE))
    hears(story, told("c1 ended", at=NOON + 2 * MINUTE))
    assert of(story) == ["c1 begins", "c1 ended"]


@pytest.mark.parametrize(
    "changes",
    [{"commit": None}, {"commit": None, "version": "c1"}, {"source": "other", "commit": "c2"}, {"owner": None}],
)
def test_what_does_not_contradict_is_kept(changes: dict[str, Any]) -> None:
    """No commit, a version in its place, another sender's, or one that names the workload: each is told beside."""
    story = rolled_out()
    hears(story, told("c1"))
    hears(story, told("more", **({"workload": SHOP} | changes)))
    assert of(story) == ["c1", "more"]


def test_a_rollout_that_is_there_before_its_owner_tells() -> None:
    """An owner of a hundred objects tells of the start when all are applied: a quick rollout hears of it, and of the end."""
    story = rolled_out()
    story.now = NOON + 3 * SECOND
    story.completes(owner=APPS)
    hears(story, told("c1 begins", status=NoticeStatus.STARTED, at=NOON + 40 * SECOND))
    hears(story, told("c1 ended", at=NOON + MINUTE))
    assert of(story) == ["c1 begins", "c1 ended"]


def test_a_rollout_of_the_next_commit_hears_of_that_one() -> None:
    """The commit before waits still, and was told before this rollout began."""
    story = rolled_out()
    hears(story, told("c1"))
    story.now = NOON + 5 * MINUTE
    hears(story, told("c2", status=NoticeStatus.STARTED, commit="c2", at=story.now))
    story.rolls_out(V3, V2, owner=APPS)
    assert of(story) == ["c2"]


def test_a_failure_of_an_owner_with_one_workload_may_cause() -> None:
    """Its only workload is meant as plainly as if it were named."""
    story = rolled_out()
    hears(story, told(status=NoticeStatus.FAILED, may_cause=True))
    (incident,) = story.incidents
    assert incident.declared is not None
    assert incident.declared.actor == "source:flux"


def test_a_failure_of_an_owner_with_several_informs_only() -> None:
    """Which of them failed is not said; each hears of it, and none is put under investigation for the others."""
    story = rolled_out()
    with_cart(story)
    hears(story, told(status=NoticeStatus.FAILED, may_cause=True))
    assert story.incidents == ()
    assert (of(story), of(story, CART)) == (["1"], ["1"])
    assert len(story.of(NoticeAttached)) == 2


def test_the_version_counts_where_no_commit_is_known() -> None:
    """A chart's version tells one release of an owner from the next."""
    story = rolled_out()
    hears(story, told("old", commit=None, version="1.0.0"))
    hears(story, told("new", commit=None, version="1.1.0", at=NOON + MINUTE))
    assert of(story) == ["old"]


def test_digests_alone_still_find_their_rollout() -> None:
    """A notice without any name is unchanged by all this."""
    story = rolled_out()
    hears(story, replace(told(), owner=None, digests=V2.digests))
    hears(story, replace(told("none"), owner=None))
    hears(story, replace(told("old"), owner=None, digests=V1.digests))
    assert of(story) == ["1"]
