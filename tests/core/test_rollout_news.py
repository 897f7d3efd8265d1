"""A revision that was rolled back and is there again, and a change past the pipeline, are announced once and left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.actions import Announce
from daemon.core.incidents import Phase
from daemon.core.reasons import Consequence, Reason
from tests.core.builders import (
    HOUR,
    MINUTE,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_location,
    a_measurement,
    a_policy,
    a_revision,
    a_rollout_view,
    a_view,
    an_alert,
)
from tests.core.story import Story

SAME_IMAGE = replace(a_revision(4), digests=V2.digests)
"""Another template with the image that was rolled back, as a pipeline that runs again makes it."""


def rolled_back(**policy: object) -> Story:
    """v2 was rolled back to v1, and the world is well again."""
    story = Story(a_policy(**policy))
    story.spikes()
    story.waits(40 * SECOND)
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    story.resolves()
    story.now += MINUTE
    return story


def news(story: Story, what: str) -> list[Announce]:
    return [each for each in story.announcements if each.id.startswith(f"{what}/")]


def test_the_same_template_again_is_announced_and_left() -> None:
    """Told once, with what was rolled back, by whom it came, and both ways on; nothing else happens."""
    story = rolled_back()
    story.rolls_out(changed_by="argocd-controller")
    (told,) = news(story, "came_back")
    assert "was rolled back by" in told.brief.update
    assert "argocd-controller" in told.brief.changed
    assert told.brief.incident == story.incident.id
    assert told.brief.commands == (
        "lastgood release shop/checkout --revision 22hash",
        "lastgood rollback shop/checkout",
    )
    assert len(story.rollbacks) == 1
    assert len(story.incidents) == 1


def test_told_once_until_it_is_released() -> None:
    """A controller that puts it back again and again is no news; after a release and another rollback it would be."""
    story = rolled_back()
    for _ in range(3):
        story.rolls_out()
        story.now += MINUTE
        story.sees(a_rollout_view(V1, V2, started_at=story.now, history=(V1, V2)))
        story.now += MINUTE
    assert len(news(story, "came_back")) == 1
    story.releases(V2)
    assert story.state.workloads[SHOP.key].ledger[V2.id].came_back_at is None


def test_a_second_failure_is_proposed_and_never_taken_in_turns() -> None:
    """What came back and is bad again waits for a person: no controller and Lastgood take turns."""
    story = rolled_back()
    story.now += HOUR
    story.rolls_out()
    story.measures = lambda action: a_measurement(story.now)
    onset = story.now + STEP
    story.where["f1"] = a_location(onset=onset)
    story.fires(an_alert(starts_at=onset + STEP))
    story.waits(MINUTE)
    assert len(story.rollbacks) == 1
    story.expect_refused(Reason.COOLING_DOWN, Consequence.PROPOSE)


def test_another_template_with_its_image_is_quarantined_too() -> None:
    """A pipeline that ran again makes a new template of the same image: recognised once its digests are known."""
    story = rolled_back()
    story.rolls_out(replace(SAME_IMAGE, digests=()), V1)
    assert not news(story, "came_back")
    story.sees(a_view(SAME_IMAGE, started_at=story.now, converged=False, history=(V1, V2, SAME_IMAGE)))
    (told,) = news(story, "came_back")
    assert f"carries an image that was rolled back ({V2.label})" in told.brief.update
    entry = story.state.workloads[SHOP.key].entry(SAME_IMAGE.id)
    assert entry is not None
    assert entry.quarantined_by == story.incident.id


def test_the_image_of_a_good_revision_is_no_sign() -> None:
    """Where bad and good revision share an image, the fault was in the rest of the template."""
    story = rolled_back()
    tracked = story.state.workloads[SHOP.key]
    bad = replace(tracked.ledger[V2.id], revision=replace(V2, digests=V1.digests))
    story.state = story.state.with_tracked(SHOP.key, ledger={**tracked.ledger, V2.id: bad})
    fix = replace(V3, digests=V1.digests)
    story.now += MINUTE
    story.rolls_out(fix, V1)
    assert not news(story, "came_back")


@pytest.mark.parametrize(
    ("managers", "by", "told"),
    [
        ((), "kubectl-edit", 0),
        (("helm", "gitlab-*"), "kubectl-edit", 1),
        (("helm", "gitlab-*"), "gitlab-runner", 0),
        (("helm",), None, 0),
    ],
)
def test_a_change_past_the_pipeline(managers: tuple[str, ...], by: str | None, told: int) -> None:
    """Told where the policy names the pipelines and another field manager wrote; whoever is unknown is not accused."""
    story = Story(a_policy(pipeline_managers=managers))
    story.starts()
    story.sees(a_view())
    story.now += MINUTE
    story.rolls_out(changed_by=by)
    found = news(story, "past_pipeline")
    assert len(found) == told
    if told:
        assert "Changed by kubectl-edit" in found[0].brief.update
        assert found[0].brief.incident == ""


def test_what_is_seen_first_is_no_news() -> None:
    """A new installation does not tell of every workload; nor is our own rollback a change past the pipeline."""
    story = Story(a_policy(pipeline_managers=("helm",)))
    story.starts()
    story.sees(a_view(changed_by="kubectl"))
    assert not news(story, "past_pipeline")
    again = rolled_back(pipeline_managers=("*",))
    assert not news(again, "past_pipeline")
    assert not news(again, "came_back")
