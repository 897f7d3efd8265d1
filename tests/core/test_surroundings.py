"""All places that hurt at once: what broke which, and who is accused of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.core.incidents import Phase, Word
from daemon.core.model import IncidentId, Neighbour, Workload
from daemon.core.reasons import Reason
from daemon.core.surroundings import TOGETHER, Surroundings, surroundings
from daemon.core.weights import WEIGHTS
from tests.core.builders import (
    CART,
    FINGERPRINT,
    MINUTE,
    NOON,
    SHOP,
    STEP,
    V1,
    a_location,
    a_measurement,
    a_policy,
    a_view,
    an_alert,
)
from tests.core.story import Story
from tests.core.test_neighbours import FRONT, MAIL, fine_at_home, hurts_at, suspicion, weight

STORE = Workload(namespace="shop", kind="Deployment", name="store")
"""Called by the shop, and by the cart."""
TEA = Workload(namespace="shop", kind="Deployment", name="tea")


def calls(workload: Workload, hops: int = 1) -> Neighbour:
    """One that calls where it hurts."""
    return Neighbour(workload=workload, hops=hops, called=False)


def called(workload: Workload, hops: int = 1) -> Neighbour:
    """One that is called from where it hurts."""
    return Neighbour(workload=workload, hops=hops, called=True)


PLACES = {
    FRONT: (called(SHOP), called(CART), called(STORE, 2), called(TEA)),
    CART: (called(STORE), calls(FRONT), calls(MAIL)),
    SHOP: (called(STORE), calls(FRONT)),
    STORE: (calls(SHOP), calls(CART), calls(FRONT, 2)),
}
"""The front calls the shop, the cart and the tea; shop and cart call the store; the mail calls the cart."""


def hurting(*places: Workload) -> Story:
    """The shop's v2 goes out at NOON, and then it hurts at these places at once, the first one's incident first."""
    story = Story()
    story.proves_v1()
    for place in (FRONT, CART, STORE):
        story.sees(a_view(workload=place, uid=f"uid-{place.name}", current=replace(V1, uid=f"rs-{place.name}")))
    story.rolls_out()
    for number, place in enumerate(places):
        story.where[f"f{number}"] = hurts_at(place, *PLACES[place])
    fine_at_home(story)
    story.fires(*(an_alert(f"f{number}") for number in range(len(places))))
    return story


def around(story: Story) -> Surroundings:
    """Of the first incident."""
    return surroundings(story.incidents[0], story.state, a_policy())


def test_who_broke_what_it_calls_broke_it() -> None:
    """The cart hurts because the store does; what asks the store is near to the cart, through both calls."""
    assert around(hurting(CART)).neighbour(SHOP) is None
    assert around(hurting(CART, STORE)).neighbour(SHOP) == calls(SHOP, 2)


def test_a_workload_in_scope_is_no_neighbour_of_itself() -> None:
    """The shop asks the store, where it hurts as well: it hurts at the shop itself."""
    assert around(hurting(SHOP, STORE)).neighbour(SHOP) is None


def test_only_the_deepest_place_tells_who_broke_it() -> None:
    """The front calls cart and shop; they hurt because the store does, so who calls them broke nothing."""
    found = around(hurting(STORE, CART, FRONT))
    assert (found.explains(SHOP), found.explains(FRONT)) == (2, 0)
    assert around(hurting(FRONT, CART)).neighbour(MAIL) == calls(MAIL, 2)
    assert around(hurting(FRONT, CART, STORE)).neighbour(MAIL) is None


def test_hops_count_from_the_nearest_place_that_hurts() -> None:
    """The store is two calls from the front, and one from the cart, which hurts as well; the tea has to do with neither."""
    found = around(hurting(FRONT, CART))
    assert found.neighbour(STORE) == called(STORE)
    assert found.neighbour(TEA) == called(TEA, 2)
    assert found.neighbour(CART) == called(CART)
    assert around(hurting(FRONT)).neighbour(STORE) == called(STORE, 2)


def test_what_calls_a_place_is_besides_it() -> None:
    """The shop calls the store: the store's failing is no sign that the shop does not answer."""
    found = around(hurting(CART, STORE, FRONT))
    assert (found.besides(SHOP), found.besides(STORE)) == (1, 0)


@pytest.mark.parametrize(
    ("places", "inherits"),
    [((STORE,), True), ((FRONT,), False), ((FRONT, STORE), True), ((SHOP,), False), ((SHOP, STORE), True)],
    ids=lambda each: "+".join(place.name for place in each) if isinstance(each, tuple) else str(each),
)
def test_who_calls_what_hurts_inherits_it(places: tuple[Workload, ...], inherits: bool) -> None:
    """Whichever incident it is looked at from."""
    assert around(hurting(*places)).inherits(SHOP) is inherits


# -- what that means for the suspicion


def test_what_is_inherited_speaks_neither_for_nor_against() -> None:
    """Its callee fails, so old and new pods fail alike, and it is worse than before: no matter who broke the callee."""
    alike = a_measurement(NOON + 12 * STEP, new=0.3, old=0.3)
    after = a_measurement(NOON + 12 * STEP, new=0.3, old=None)
    assert weight(suspicion(alike), "alike") == WEIGHTS["alike"]
    assert weight(suspicion(after), "before_after") == WEIGHTS["before_after"]
    assert weight(suspicion(alike, inherits=True), "alike") is None
    assert weight(suspicion(after, inherits=True), "before_after") is None


def test_a_caller_that_breaks_what_it_calls_is_proposed() -> None:
    """The shop writes rubbish to the store. The store fails whoever asks, the old shop, too: a person gets the shop's name.

    Without the alert on the store its failing alike would be nobody's rollout.
    """
    story = hurting(STORE)
    fine_at_home(story, new=a_measurement(story.now, new=0.3).new, old=a_measurement(story.now, new=0.3).new)
    story.waits(3 * STEP)
    (incident,) = story.incidents
    assert (incident.phase, incident.suspect) == (Phase.PROPOSED, SHOP)
    assert incident.verdict is not None
    assert incident.verdict.reason is Reason.BLAMED_TIMING
    assert story.rollbacks == []


# -- accused


def later(minutes: int) -> Story:
    """The shop is proposed for the store; then, with an onset so much later, the cart hurts."""
    story = hurting(STORE)
    story.waits(3 * STEP)
    assert story.incidents[0].phase is Phase.PROPOSED
    story.waits(minutes * MINUTE)
    place = hurts_at(CART, called(SHOP))
    story.where["later"] = replace(place, onset=story.incidents[0].onset + timedelta(minutes=minutes))
    return story


def accused(story: Story) -> float | None:
    """What speaks against the shop for being blamed already, as the cart hurts later."""
    story.fires(an_alert("later"))
    found = next(incident for incident in reversed(story.incidents) if incident.symptom == CART)
    return weight(found.suspicions[0], "accused")


@pytest.mark.parametrize("minutes", [9, 11, 20])
def test_who_is_blamed_for_one_is_likelier_to_have_caused_the_other(minutes: int) -> None:
    """Where both began within ten minutes, and later as well while nobody has seen to it: proposed, or with a person."""
    story = later(minutes)
    assert story.incidents[0].phase is (Phase.PROPOSED if minutes < 15 else Phase.ESCALATED)
    assert accused(story) == WEIGHTS["accused"]


def test_what_was_seen_to_accuses_nobody_of_what_began_later() -> None:
    """A person has closed it, or has said that the rollout is innocent: what begins after that has a cause of its own."""
    assert timedelta(minutes=10) == TOGETHER
    for see_to_it in (Story.closes, lambda story: story.judges(Word.WRONG)):
        story = later(20)
        see_to_it(story)
        assert accused(story) is None


def test_what_began_earlier_is_not_more_of_the_same() -> None:
    """Eleven minutes before the one that is blamed, which goes on; what began eleven minutes after it may be."""
    story = hurting(STORE)
    story.waits(3 * STEP)
    (blamed,) = story.incidents
    for minutes, expected in ((-11, frozenset()), (11, {SHOP})):
        other = replace(blamed, id=IncidentId("other"), onset=blamed.onset + timedelta(minutes=minutes))
        assert surroundings(other, story.state, a_policy()).accused == expected


def test_nobody_accuses_himself() -> None:
    """An incident's own proposal does not make its case stronger."""
    story = hurting(STORE)
    story.waits(6 * STEP)
    (incident,) = story.incidents
    assert incident.phase is Phase.PROPOSED
    assert weight(incident.suspicions[0], "accused") is None


def test_a_location_is_what_the_builders_say() -> None:
    """The cases above rest on it: long after the rollout, an alert without neighbours is near to nothing."""
    story = hurting(STORE)
    story.where[FINGERPRINT] = a_location(CART, onset=NOON + 2 * MINUTE)
    story.fires(an_alert(FINGERPRINT))
    assert around(story).others[CART].near == {}
