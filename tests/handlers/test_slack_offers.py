"""What a button carries: consent is to what stood in the message, and it comes back as it went out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.incidents import Phase
from daemon.core.model import Mode
from daemon.core.reasons import Reason
from handlers.alerts import MalformedError
from handlers.plain import exact, utf16_units
from handlers.slack_offers import (
    INCIDENT_MAX,
    QUESTIONS_MAX,
    REVISION_MAX,
    VALUE_MAX,
    Button,
    Offer,
    offer_of,
    value_of,
)
from tests.core.builders import a_policy
from tests.core.story import Story
from tests.handlers.telling import HOSTILE, PROPOSED


@pytest.mark.parametrize("mode", [Mode.APPROVE, Mode.AUTO])
def test_the_core_s_own_proposal_is_carried(mode: Mode) -> None:
    """Whether it waits or counts down: the button carries the target and the questions of the proposal just told."""
    story = Story(a_policy(default_mode=mode))
    story.spikes()
    story.expect(Phase.PROPOSED)
    offer = offer_of(value_of(story.announcements[-1].brief, Button.APPROVE))
    assert story.incident.target is not None
    assert offer == Offer(incident=story.incident.id, target=story.incident.target.id, questions=story.incident.shown)


def test_without_a_target_there_is_no_button() -> None:
    """Consent must be to something; and a question that this release does not know is not asked."""
    assert value_of(replace(PROPOSED, target=""), Button.APPROVE) is None
    assert offer_of('{"incident":"i","questions":["mode_approve","unheard_of"]}').questions == (Reason.MODE_APPROVE,)


def test_stopping_needs_no_offer() -> None:
    """Decline and Pause carry the incident alone."""
    for button in (Button.DECLINE, Button.PAUSE):
        assert value_of(PROPOSED, button) == f'{{"incident":"{PROPOSED.incident}"}}'


@given(
    incident=st.text(max_size=INCIDENT_MAX + 2),
    target=st.text(max_size=REVISION_MAX + 2),
    questions=st.lists(st.sampled_from(list(Reason)), unique=True),
)
def test_what_goes_out_comes_back(incident: str, target: str, questions: list[Reason]) -> None:
    """Whatever a brief holds: within the vendor's limit and readable again, or not there at all."""
    names = tuple(reason.value for reason in questions)
    value = value_of(replace(PROPOSED, incident=incident, target=target, questions=names), Button.APPROVE)
    if value is None:
        fits = exact(incident, INCIDENT_MAX) and exact(target, REVISION_MAX) and len(names) <= QUESTIONS_MAX
        assert not fits
        return
    assert utf16_units(value) <= VALUE_MAX
    offer = offer_of(value)
    assert (offer.incident, offer.target, set(offer.questions)) == (incident, target, set(questions))


def test_a_hostile_brief_carries_no_more_than_fits() -> None:
    """A named incident with megabytes around it still has a button within the limit."""
    value = value_of(replace(HOSTILE, incident="inc-1"), Button.APPROVE)
    assert value is not None
    assert utf16_units(value) <= VALUE_MAX


@given(value=st.none() | st.text(max_size=100) | st.integers() | st.binary(max_size=50))
def test_any_value_is_an_offer_or_refused(value: object) -> None:
    """Nothing but MalformedError comes of a value that is none of ours."""
    try:
        offer = offer_of(value)
    except MalformedError:
        return
    assert 0 < len(offer.incident) <= INCIDENT_MAX
