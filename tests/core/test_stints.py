"""Names that are given again: which revision ran under them when, whatever was seen of it and in whatever order."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.actions import Measure, MeasurePurpose
from daemon.core.model import Revision, RevisionId, RevisionPods, Rollout, Stint
from daemon.core.stints import STINTS_MAX, newest, settled
from tests.core.builders import HOUR, MINUTE, NOON, SECOND, SHOP, V1, V2, V3, a_rollout_view, a_view
from tests.core.story import Story

LONG_AGO = NOON - 24 * HOUR
NAMES = ("db-0", "db-1", "db-2")


def stint(number: int, since: datetime = LONG_AGO, until: datetime | None = None) -> Stint:
    return Stint(name=f"db-{number}", since=since, until=until)


def pods(revision: Revision, *stints: Stint, ready: int | None = None) -> RevisionPods:
    """As the cluster shows them: the stints of pods that are there, and of some that are not."""
    return RevisionPods(
        revision=revision.id,
        names=tuple(dict.fromkeys(each.name for each in stints)),
        ready=sum(each.until is None for each in stints) if ready is None else ready,
        stints=stints,
    )


OLD = tuple(stint(number) for number in range(3))
"""The three pods of v1, which nobody has exchanged yet."""


def rollout_of(story: Story) -> Rollout:
    found = story.state.workloads[SHOP.key].rollout
    assert found is not None
    return found


def exchanged(*, old: Revision = V1, new: Revision = V2, start: datetime = NOON) -> tuple[RevisionPods, ...]:
    """Both revisions once `new` has web-2: its pod began two seconds after the old one was gone."""
    return (
        pods(old, *OLD[:2], stint(2, until=start + 28 * SECOND)),
        pods(new, stint(2, since=start + 30 * SECOND)),
    )


def a_story() -> Story:
    """v1 has served for a day."""
    story = Story()
    story.sees(a_view(pods=(pods(V1, *OLD),)))
    return story


# -- the rule


def test_a_name_that_began_anew_ended_before() -> None:
    """A pod whose end nobody saw was gone when the next one of its name was made, whichever revision that one runs."""
    after = stint(2, since=NOON)
    assert settled({V1.id: OLD, V2.id: [after]}) == {V1.id: (*OLD[:2], stint(2, until=NOON)), V2.id: (after,)}
    again = stint(2, since=NOON + MINUTE)
    assert settled({V1.id: [stint(2), again]}) == {V1.id: (stint(2, until=NOON + MINUTE), again)}


def test_our_clock_is_no_proof_against_the_servers() -> None:
    """An end is noted by our clock and a beginning by the server's: one name never runs two revisions at once."""
    late = stint(2, until=NOON + 5 * SECOND)
    found = settled({V1.id: [late], V2.id: [stint(2, since=NOON)]})
    assert found[V1.id] == (stint(2, until=NOON),)


def test_an_end_that_is_known_stays_known() -> None:
    """The journal knows the end, a later look does not (or tells another): the earlier end counts, in any order."""
    early, late = stint(1, until=NOON), stint(1, until=NOON + MINUTE)
    for told in ([stint(1), early], [early, stint(1)], [early, late], [late, early]):
        assert settled({V1.id: told}) == {V1.id: (early,)}


def test_two_pods_within_a_second() -> None:
    """Creation times are whole seconds: of two of one name that began in the same, the one that is over was first."""
    over, still = stint(2, since=NOON, until=NOON + SECOND / 2), stint(2, since=NOON)
    for order in ((V1, V2), (V2, V1)):
        told = dict(zip((each.id for each in order), ([over], [still]), strict=True))
        found = settled(told)
        assert found[order[0].id] == (stint(2, since=NOON, until=NOON),)
        assert found[order[1].id] == (still,)


REVISIONS = st.sampled_from([V1.id, V2.id, V3.id])
LIVES = st.builds(
    Stint,
    name=st.sampled_from(NAMES),
    since=st.integers(0, 20).map(lambda minutes: NOON + minutes * MINUTE),
    until=st.none() | st.integers(21, 40).map(lambda minutes: NOON + minutes * MINUTE),
)
SEEN = st.dictionaries(REVISIONS, st.lists(LIVES, max_size=8))


@given(SEEN)
def test_no_name_runs_two_revisions_at_once(seen: dict[RevisionId, list[Stint]]) -> None:
    """Whatever was noted, at any moment a name stands for one pod; and what is settled stays as it is."""
    found = settled(seen)
    lives = [each for stints in found.values() for each in stints]
    lives.sort(key=lambda each: (each.name, each.since, each.until is None, each.until or each.since))
    for before, after in pairwise(lives):
        if before.name == after.name:
            assert before.until is not None
            assert before.until <= after.since
    assert found.keys() == seen.keys()
    assert settled(found) == found


def test_a_set_that_is_exchanged_for_ever_stays_small() -> None:
    """Only the latest of very many stints are kept, and they are whole."""
    many = tuple(stint(0, since=NOON + n * MINUTE) for n in range(3 * STINTS_MAX))
    kept = newest(settled({V1.id: many})[V1.id])
    assert len(kept) == STINTS_MAX
    assert kept[-1] == many[-1]
    assert all(each.until is not None for each in kept[:-1])


# -- what a rollout keeps of it


def test_a_rollout_learns_each_exchange() -> None:
    """Ends that were seen and those that follow from a beginning stand side by side; nothing that was known is lost."""
    story = a_story()
    story.sees(a_rollout_view(pods=(pods(V1, *OLD), pods(V2, ready=0))))
    story.sees(a_rollout_view(pods=exchanged()))
    second = NOON + 3 * MINUTE
    story.sees(a_rollout_view(pods=(pods(V1, OLD[0]), pods(V2, stint(1, since=second)))))
    found = rollout_of(story)
    assert found.stints_of(V1.id) == (OLD[0], stint(1, until=second), stint(2, until=NOON + 28 * SECOND))
    assert found.stints_of(V2.id) == (stint(2, since=NOON + 30 * SECOND), stint(1, since=second))
    assert found.stints_of(V3.id) == ()


def test_a_rollout_keeps_no_more_than_the_latest() -> None:
    """A pod that is evicted again and again cannot grow a fact without end."""
    story = a_story()
    story.sees(a_rollout_view(pods=exchanged()))
    for number in range(2 * STINTS_MAX):
        story.sees(a_rollout_view(pods=(pods(V2, stint(2, since=NOON + (1 + number) * MINUTE)),)))
    found = rollout_of(story).stints_of(V2.id)
    assert len(found) == STINTS_MAX
    assert found[-1].since == NOON + 2 * STINTS_MAX * MINUTE


def test_a_rollout_that_nobody_watched_is_read_back() -> None:
    """We were down while the pods were exchanged: the old ones' time is known from before, and ended as the new began."""
    story = a_story()
    new = [stint(number, since=NOON + (3 - number) * 2 * MINUTE) for number in (2, 1, 0)]
    story.sees(a_view(V2, started_at=NOON, history=(V1, V2), pods=(pods(V2, *new),)))
    found = rollout_of(story)
    assert [(each.name, each.until) for each in found.stints_of(V1.id)] == [
        (each.name, each.since) for each in sorted(new, key=lambda each: each.name)
    ]
    assert found.names_of(V1.id) == (), "names are those of this rollout"
    assert found.stints_of(V2.id) == tuple(new)


def test_a_revision_that_returns_keeps_its_former_time() -> None:
    """After a rollback the baseline is the time before the bad rollout: under the same names, two revisions ago."""
    story = a_story()
    story.sees(a_rollout_view(pods=exchanged()))
    back = NOON + 10 * MINUTE
    returned = stint(2, since=back + MINUTE)
    view = a_rollout_view(V1, V2, started_at=back, generation=3, history=(V1, V2))
    story.sees(replace(view, pods=(pods(V1, *OLD[:2], returned), pods(V2, ready=0))))
    found = rollout_of(story)
    assert found.stints_of(V1.id) == (*OLD[:2], stint(2, until=NOON + 28 * SECOND), returned)
    assert found.stints_of(V2.id) == (stint(2, since=NOON + 30 * SECOND, until=back + MINUTE),)


def test_no_revision_is_carried_for_ever() -> None:
    """A rollout knows the time of its own two revisions; that of older ones stays with theirs."""
    story = a_story()
    story.sees(a_rollout_view(pods=exchanged()))
    third = stint(2, since=NOON + HOUR)
    view = a_rollout_view(V3, V2, started_at=NOON + HOUR, pods=(pods(V3, third),))
    story.sees(view)
    assert {each.revision for each in rollout_of(story).pods} == {V2.id, V3.id}


# -- what is measured


def measured(story: Story) -> Measure:
    return next(action for action in reversed(story.done) if isinstance(action, Measure))


def test_a_measurement_is_told_the_stints() -> None:
    """To blame, both revisions' stints go with their names."""
    story = a_story()
    story.spikes(pods=exchanged())
    action = measured(story)
    assert action.purpose is MeasurePurpose.BLAME
    assert (action.new_stints, action.old_stints) == tuple(rollout_of(story).stints_of(each.id) for each in (V2, V1))
    assert action.new_stints
    assert action.old_stints


def test_generated_names_need_no_stints() -> None:
    """Nothing changes for a Deployment: its rollouts and measurements know names alone."""
    story = Story()
    story.spikes()
    action = measured(story)
    assert (action.new_stints, action.old_stints) == ((), ())
    assert action.new_pods
    assert all(not each.stints for each in rollout_of(story).pods)
