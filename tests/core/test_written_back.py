"""A rollback that somebody writes back is handed to a person with the writer's name; Lastgood never takes turns with anybody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.core.actions import Announce, PageKind, RollBack, RolledBack
from daemon.core.incidents import Phase
from daemon.core.model import Owner, OwnerKind
from daemon.core.reasons import Reason
from daemon.core.written_back import REVERT_WINDOW
from tests.core.builders import (
    HOUR,
    MINUTE,
    SECOND,
    SHOP,
    V1,
    V2,
    V3,
    a_measurement,
    a_recovery,
    a_rollout_view,
    a_view,
    pods_of,
)
from tests.core.story import Story, done

ARGO = Owner(kind=OwnerKind.ARGO_CD, name="shop")
HEAL = "argocd-controller"
OWNED: dict[str, Any] = {"owner": ARGO, "owner_yields": True}


def rolling(**view: Any) -> Story:
    """The patch is written; the cluster has not been seen to follow."""
    story = Story()
    story.spikes(**view)
    story.waits(30 * SECOND)
    story.expect(Phase.ROLLING_BACK, Reason.COUNTDOWN_OVER)
    return story


def verifying(**view: Any) -> Story:
    """It runs v1 again, and everything measures well."""
    story = rolling(**view)
    story.waits(20 * SECOND)
    story.is_back(**view)
    story.expect(Phase.VERIFYING)
    return story


def recovered(**view: Any) -> Story:
    """The symptom stayed away."""
    story = verifying(**view)
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    story.resolves()
    return story


def writes_back(story: Story, by: str | None = HEAL, **changes: Any) -> None:
    """v2 is put back after our patch."""
    values: dict[str, Any] = {"started_at": story.now, "generation": 101, "changed_by": by, "history": (V1, V2)}
    story.sees(a_rollout_view(V2, V1, **(values | changes)))


def announced(story: Story) -> list[Announce]:
    return [each for each in story.announcements if each.id.startswith("came_back/")]


@pytest.mark.parametrize("play", [rolling, verifying])
def test_it_stops_and_says_who(play: Any) -> None:
    """Escalated with a page that names the writer and the owner's object; nothing more is done, and nothing announced twice."""
    story = play(**OWNED)
    story.is_back(**OWNED)
    writes_back(story, **OWNED)
    story.expect(Phase.ESCALATED, Reason.REVERTED)
    page = story.pages[-1]
    assert page.urgent
    assert f"field manager {HEAL} (Argo CD application shop)" in page.brief.update
    assert "does not roll it back again" in page.brief.update
    assert "written back" in page.brief.headline
    assert not announced(story)
    entry = story.state.workloads[SHOP.key].ledger[V2.id]
    assert (entry.quarantined_by, entry.came_back_at) == (story.incident.id, story.now)
    story.waits(HOUR)
    writes_back(story, generation=105, **OWNED)
    assert len(story.rollbacks) == 1
    assert len(story.incidents) == 1
    assert not announced(story)


def test_the_page_names_the_revert_and_how_to_accept() -> None:
    """Nobody is told to undo it in the cluster once more."""
    story = verifying(**OWNED)
    writes_back(story, **OWNED)
    commands = story.pages[-1].brief.commands
    assert "argocd app history shop" in commands
    assert f"lastgood release shop/checkout --revision {V2.id[:8]}" in commands
    assert not any("rollout undo" in command for command in commands)


@pytest.mark.parametrize(
    ("by", "owner", "expected"),
    [
        ("kubectl-edit", None, "Written back by field manager kubectl-edit."),
        (None, None, "Written back by an unknown field manager."),
        ("helm", Owner(kind=OwnerKind.HELM, name="shop/web"), "field manager helm (Helm release shop/web)"),
        ("kustomize-controller", Owner(kind=OwnerKind.FLUX, name="Kustomization a/b"), "(Flux Kustomization a/b)"),
        ("op", Owner(kind=OwnerKind.OPERATOR, name="Shop/a"), "(the operator of Shop/a)"),
    ],
)
def test_whoever_wrote_it(by: str | None, owner: Owner | None, expected: str) -> None:
    """A controller or anybody: the incident ends the same way."""
    story = verifying()
    writes_back(story, by, owner=owner)
    story.expect(Phase.ESCALATED, Reason.REVERTED)
    assert expected in story.pages[-1].brief.update


def test_another_revision_is_a_newer_rollout() -> None:
    """A fixed version supersedes as before."""
    story = verifying(**OWNED)
    story.sees(a_rollout_view(V3, V1, started_at=story.now, generation=101, history=(V1, V2, V3)))
    story.expect(Phase.SUPERSEDED, Reason.SUPERSEDED)


def test_both_changes_between_two_views() -> None:
    """A controller that is faster than our watch: the cluster never showed the target, and the generation tells."""
    story = rolling(**OWNED)
    known = story.state.workloads[SHOP.key].view
    story.sees(replace(known, generation=99))
    story.expect(Phase.ROLLING_BACK)
    story.sees(replace(known, generation=100, changed_by=HEAL))
    story.expect(Phase.ESCALATED, Reason.REVERTED)
    assert not announced(story)


def test_both_changes_before_the_outcome_is_known() -> None:
    """Neither the view of the target nor its end decides while nobody knows what became of the patch."""
    story = Story()
    story.patches = lambda action: None
    story.spikes()
    story.waits(30 * SECOND)
    story.is_back()
    writes_back(story)
    story.expect(Phase.ROLLING_BACK)
    story.patches = lambda action: done(RolledBack(generation=99, patched_at=story.now))
    story.withheld.discard(RollBack)
    story.answers()
    story.expect(Phase.ESCALATED, Reason.REVERTED)
    assert not announced(story)


def test_an_older_view_decides_nothing() -> None:
    """A list from the API server's cache may be older than what was seen."""
    story = verifying()
    writes_back(story, generation=98)
    assert Reason.REVERTED is not story.incident.reason


def test_soon_after_recovery_a_linked_incident_is_handed_over() -> None:
    """The one that recovered has ended; its successor names it, pages under the same key, and is closed by a person."""
    story = recovered(**OWNED)
    before = story.incident
    story.now += MINUTE
    writes_back(story, **OWNED)
    story.expect(Phase.ESCALATED, Reason.REVERTED)
    assert story.incident.predecessor == before.id
    assert len(story.incidents) == 2
    assert len(story.rollbacks) == 1
    page = story.pages[-1]
    assert (page.page, page.urgent, page.key) == (PageKind.TRIGGER, True, story.pages[0].key)
    assert "nothing was changed" in page.brief.done
    assert "argocd app history shop" in page.brief.commands
    assert not announced(story)
    story.closes()
    story.expect(Phase.CLOSED)


def test_more_that_is_seen_of_it_is_no_news() -> None:
    """Its pods are exchanged one by one, and each view shows the bad revision: one incident, also after a person closed it."""
    story = recovered(**OWNED)
    story.now += MINUTE
    began = story.now
    writes_back(story, **OWNED)
    for ready in (1, 2, 3):
        story.now += 10 * SECOND
        story.sees(a_rollout_view(V2, V1, started_at=began, generation=101, pods=(pods_of(V2, ready),), **OWNED))
    assert len(story.incidents) == 2
    story.closes()
    story.now += 10 * SECOND
    story.sees(a_view(V2, started_at=began, generation=102, available_since=story.now, history=(V1, V2), **OWNED))
    assert len(story.incidents) == 2
    story.is_back(**OWNED)
    story.now += 10 * SECOND
    writes_back(story, generation=104, **OWNED)
    assert len(story.incidents) == 3, "undone and written back again: that is news"


def test_later_it_is_a_deployment() -> None:
    """After REVERT_WINDOW nobody is woken; it is announced."""
    story = recovered(**OWNED)
    recovery = story.incident.recovered_at
    assert recovery is not None
    story.now = recovery + REVERT_WINDOW + timedelta(seconds=1)
    writes_back(story, **OWNED)
    story.expect(Phase.RECOVERED)
    assert len(announced(story)) == 1


def test_what_was_released_may_come() -> None:
    """A person accepted it: no page."""
    story = recovered(**OWNED)
    story.releases(V2)
    writes_back(story, **OWNED)
    story.expect(Phase.RECOVERED)
    assert not announced(story)


def test_the_alert_that_fires_again_joins() -> None:
    """One page per bad revision: an investigation that finds the same revision merges into the escalated incident."""
    story = recovered(**OWNED)
    story.now += MINUTE
    writes_back(story, **OWNED)
    handed_over = story.incident
    story.measures = lambda action: a_measurement(story.now)
    story.now += MINUTE
    story.declares()
    story.waits(5 * MINUTE)
    open_ones = [each for each in story.incidents if not each.phase.ended]
    assert [each.id for each in open_ones] == [handed_over.id]
    assert len(story.rollbacks) == 1


def test_old_pods_that_are_well_close_nothing() -> None:
    """While the bad revision is rolled out again, good signals are those of the good one; after that they count."""
    story = verifying()
    story.resolves()
    writes_back(story)
    story.measures = lambda action: a_recovery(story.now)
    story.waits(10 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.REVERTED)
    story.sees(a_view(V2, started_at=story.now, generation=101, available_since=story.now, history=(V1, V2)))
    story.waits(5 * MINUTE)
    story.expect(Phase.CLOSED, Reason.SYMPTOM_GONE)
