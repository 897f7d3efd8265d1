"""A notice that names no kind: the Deployment of that name, else the only workload of that name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.model import Workload
from tests.core.builders import NOON, SHOP, a_rollout_view, a_view
from tests.core.story import Story
from tests.core.test_notices import a_notice, hears

SET = replace(SHOP, kind="StatefulSet")
DAEMON = replace(SHOP, kind="DaemonSet")


def sees(story: Story, *workloads: Workload, rollout: bool) -> None:
    for workload in workloads:
        view = a_rollout_view if rollout else a_view
        story.sees(view(workload=workload, uid=f"uid-{workload.kind}"))


def heard(story: Story) -> list[str]:
    """The kinds that the notice stands beside."""
    return [each.view.workload.kind for each in story.state.workloads.values() if each.notices]


@pytest.mark.parametrize("first", ["notice", "rollout"])
@pytest.mark.parametrize(
    ("known", "named", "kinds"),
    [
        ((SET,), SHOP, ["StatefulSet"]),
        ((DAEMON,), SHOP, ["DaemonSet"]),
        ((SHOP, SET), SHOP, ["Deployment"]),
        ((SET, DAEMON), SHOP, []),
        ((SHOP, SET), SET, ["StatefulSet"]),
        ((SHOP,), SET, []),
        ((DAEMON,), SET, []),
        ((replace(SET, name="other"),), SHOP, []),
        ((replace(SET, namespace="other"),), SHOP, []),
    ],
)
def test_which_workload_is_meant(first: str, known: tuple[Workload, ...], named: Workload, kinds: list[str]) -> None:
    """A Deployment where there is one, else the only one of that name, in either order; another kind only as written."""
    story = Story()
    story.starts()
    sees(story, *known, rollout=False)
    story.now = NOON
    if first == "notice":
        hears(story, a_notice(workload=named))
    sees(story, *known, rollout=True)
    if first == "rollout":
        hears(story, a_notice(workload=named))
    assert heard(story) == kinds
    assert story.replayed() == story.state
