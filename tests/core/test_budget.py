"""The blast radius holds while a rollback is under way: what is owed counts, or two at the same time would not see each other."""

from __future__ import annotations

from daemon.core.actions import RollBack
from daemon.core.incidents import Phase
from daemon.core.reasons import Reason
from tests.core.builders import CART, MINUTE, NOON, SECOND, a_location, a_policy, a_rollout_view, a_view, an_alert
from tests.core.story import Story


def two_bad_rollouts(limit: int) -> Story:
    """Shop and cart go bad at the same time; what becomes of a patch is not known yet."""
    story = Story(a_policy(rollbacks_per_namespace_hour=limit))
    story.patches = lambda action: None
    story.starts()
    story.sees(a_view())
    story.sees(a_view(workload=CART, uid="uid-2"))
    story.waits(SECOND)
    story.now = NOON
    story.sees(a_rollout_view())
    story.sees(a_rollout_view(workload=CART, uid="uid-2"))
    story.where["f2"] = a_location(CART)
    story.fires(an_alert("f1"), an_alert("f2"))
    story.waits(MINUTE)
    return story


def test_what_is_under_way_counts() -> None:
    """Both countdowns end in the same moment, one may go: a person is asked about the other."""
    story = two_bad_rollouts(limit=1)
    assert [action.workload for action in story.rollbacks] == [story.incidents[0].suspect]
    assert [incident.phase for incident in story.incidents] == [Phase.ROLLING_BACK, Phase.PROPOSED]
    assert story.incidents[1].shown == (Reason.BLAST_RADIUS,)


def test_the_limit_is_what_counts() -> None:
    """With room for two, both go."""
    story = two_bad_rollouts(limit=2)
    assert len({action.workload for action in story.state.owed.values() if isinstance(action, RollBack)}) == 2
