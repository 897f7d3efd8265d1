"""The one table of phases: every pair moves as it says or raises and changes nothing, and every road has an end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.draft import Draft
from daemon.core.incidents import PHASES, IllegalMoveError, Phase, Trigger, after
from daemon.core.reasons import Reason
from tests.core.story import Story

PAIRS = [(phase, trigger) for phase in Phase for trigger in Trigger]

DESIGN = {
    Phase.OPEN: {Phase.DISMISSED, Phase.PROPOSED, Phase.ESCALATED, Phase.SUPERSEDED},
    Phase.PROPOSED: {Phase.ROLLING_BACK, Phase.ESCALATED, Phase.DISMISSED, Phase.SUPERSEDED},
    Phase.ROLLING_BACK: {Phase.VERIFYING, Phase.SUPERSEDED, Phase.ESCALATED},
    Phase.VERIFYING: {Phase.RECOVERED, Phase.ESCALATED, Phase.SUPERSEDED},
    Phase.ESCALATED: {Phase.CLOSED},
}
"""Which phases follow which, as the design's table of phases has it; the rest are ends."""


def in_phase(phase: Phase) -> Draft:
    """An incident that stands in the phase."""
    story = Story()
    story.spikes()
    incident = replace(story.incident, phase=phase)
    state = replace(story.state, incidents={incident.id: incident})
    return Draft(state=state, now=story.now, policy=story.policy)


@pytest.mark.parametrize(("phase", "trigger"), PAIRS)
def test_every_pair_moves_by_the_table_or_changes_nothing(phase: Phase, trigger: Trigger) -> None:
    """A pair of the table leads to its phase with one fact; any other raises and leaves no trace."""
    draft = in_phase(phase)
    before, incident_id = draft.state, next(iter(draft.state.incidents.values())).id
    if (phase, trigger) in PHASES:
        assert draft.move(incident_id, trigger, Reason.MERGED).phase is PHASES[phase, trigger]
        assert len(draft.facts) == 1
        return
    with pytest.raises(IllegalMoveError, match=f"{trigger} does not move an incident in phase {phase}"):
        draft.move(incident_id, trigger, Reason.MERGED)
    assert draft.facts == []
    assert draft.state is before


@pytest.mark.parametrize("phase", list(Phase))
def test_the_table_leads_where_the_design_says(phase: Phase) -> None:
    """Exactly the phases of the design follow, and nothing follows an end."""
    following = {PHASES[pair] for pair in PHASES if pair[0] is phase}
    assert following == DESIGN.get(phase, set())
    assert phase.ended is (phase not in DESIGN)


def test_every_phase_reaches_an_end_and_none_comes_again() -> None:
    """There is a way out of every phase, and no circle in which an incident could act twice."""

    def ends(phase: Phase, passed: tuple[Phase, ...]) -> bool:
        assert phase not in passed, f"a circle: {passed}"
        following = {after(phase, trigger) for (at, trigger) in PHASES if at is phase}
        return phase.ended if not following else all(ends(step, (*passed, phase)) for step in following)

    assert all(ends(phase, ()) for phase in Phase)


def test_every_trigger_is_in_the_table() -> None:
    """A trigger that moves nothing is a word without meaning."""
    assert {trigger for _, trigger in PHASES} == set(Trigger)
