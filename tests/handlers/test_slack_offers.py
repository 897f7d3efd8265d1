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
from handlers.slack_offers import INCIDENT_MAX, VALUE_MAX, Button, Offer, offer_of, value_of
from tests.core.builders import V1, V2, V3, a_policy, a_view
from tests.core.story import Story
from tests.handlers.telling import HOSTILE, PROPOSED


def spiked(mode: Mode, images: int = 1) -> Story:
    """A proposal; its target has that many containers."""
    names = tuple(f"registry.example/team/sidecar-{number}:2026.11.{number}-build" for number in range(images))
    old, story = replace(V1, images=names), Story(a_policy(default_mode=mode))
    story.starts()
    story.sees(a_view(old))
    story.waits(story.policy.countdown * 0)
    story.rolls_out(old=old, history=(old, V2))
    story.fires()
    story.expect(Phase.PROPOSED)
    return story


def offered(story: Story) -> Offer:
    """What the Approve button of the latest announcement carries."""
    return offer_of(value_of(story.announcements[-1].brief, Button.APPROVE))


@pytest.mark.parametrize("mode", [Mode.APPROVE, Mode.AUTO])
@pytest.mark.parametrize("images", [1, 3, 40])
def test_the_core_s_own_words_are_consent_to_the_core_s_own_proposal(mode: Mode, images: int) -> None:
    """Whether it waits or counts down, and however many images the target has: the message just posted counts."""
    story = spiked(mode, images)
    offer = offered(story)
    assert offer.incident == story.incident.id
    assert offer.covers(story.incident)


def test_consent_is_to_this_target_and_these_questions() -> None:
    """Another target, a question that was not shown, or no target at all: no consent. One question less: still one."""
    story = spiked(Mode.APPROVE)
    offer, incident = offered(story), story.incident
    assert not offer.covers(replace(incident, target=V3))
    assert not offer.covers(replace(incident, target=None))
    assert not offer.covers(replace(incident, shown=(*incident.shown, Reason.TARGET_SKIPS)))
    assert offer.covers(replace(incident, shown=()))


def test_stopping_needs_no_offer() -> None:
    """Decline and Pause carry the incident alone."""
    for button in (Button.DECLINE, Button.PAUSE):
        assert value_of(PROPOSED, button) == f'{{"incident":"{PROPOSED.incident}"}}'


@given(
    incident=st.text(max_size=INCIDENT_MAX + 2),
    done=st.text(max_size=700),
    refusals=st.lists(st.text(max_size=60), max_size=60),
)
def test_what_goes_out_comes_back(incident: str, done: str, refusals: list[str]) -> None:
    """Whatever a brief holds: within the vendor's limit and readable again, or not there at all."""
    brief = replace(PROPOSED, incident=incident, done=done, refusals=tuple(refusals))
    value = value_of(brief, Button.APPROVE)
    if value is None:
        assert exact(incident, INCIDENT_MAX) in {None, ""}
        return
    assert utf16_units(value) <= VALUE_MAX
    assert offer_of(value).incident == incident


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
