"""An undo by hand is recognised: what somebody went away from is bad, and no target until it is released."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from daemon.core.actions import RollBack
from tests.core.builders import MINUTE, SHOP, STEP, V1, V2, V3, a_rollout_view, a_view
from tests.core.story import Story
from tests.core.test_notices import rolled_out


def test_an_undo_by_hand_quarantines_what_it_left() -> None:
    """Whoever goes back says that the newer revision is bad: it is no target until it is released."""
    story = rolled_out()
    story.now += 5 * MINUTE
    story.sees(a_rollout_view(V1, V2, started_at=story.now, history=(V1, V2), changed_by="ann"))
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is not None
    assert entry.quarantined_by == "the undo by ann"
    story.releases(V2)
    assert story.state.workloads[SHOP.key].ledger[V2.id].quarantined_by is None


def test_rolling_forward_or_restarting_quarantines_nothing() -> None:
    """Only a step back to an older revision with another content says so."""
    story = rolled_out()
    story.now += 5 * MINUTE
    story.rolls_out(V3, V2)
    story.now += 5 * MINUTE
    story.sees(a_view(replace(V2, content=V3.content), started_at=story.now, history=(V1, V2, V3)))
    assert [entry.quarantined_by for entry in story.state.workloads[SHOP.key].ledger.values()] == [None] * len(
        story.state.workloads[SHOP.key].ledger
    )


def test_our_own_rollback_is_quarantined_by_its_incident() -> None:
    """The cluster may show our rollback before its outcome is known: it is no undo by hand."""
    story = Story()
    story.spikes()
    story.withheld.add(RollBack)
    story.waits(STEP)
    story.sees(a_rollout_view(V1, V2, started_at=story.now, history=(V1, V2), action_id=story.incident.roll_back))
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is None or entry.quarantined_by is None


def test_an_undo_of_what_is_quarantined_already_keeps_its_reason() -> None:
    """The first word stands."""
    story = rolled_out()
    story.now += 5 * MINUTE
    back: dict[str, Any] = {"history": (V1, V2), "changed_by": "ann"}
    story.sees(a_rollout_view(V1, V2, started_at=story.now, **back))
    story.sees(a_rollout_view(V2, V1, started_at=story.now + MINUTE, history=(V1, V2)))
    story.sees(a_rollout_view(V1, V2, started_at=story.now + 2 * MINUTE, **(back | {"changed_by": "bob"})))
    assert story.state.workloads[SHOP.key].ledger[V2.id].quarantined_by == "the undo by ann"
