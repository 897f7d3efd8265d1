"""A Table is a dict that is never mutated: whatever is done to it, it answers like one, and remembers nothing that is not so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.actions import Announce, Page
from daemon.core.state import without_key
from daemon.core.table import BUCKETS, Table, table
from daemon.runtime import codec
from tests.core.story import Story

KEYS = st.sampled_from([f"k{number}" for number in range(12)])
STEPS = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 5)), max_size=40)
START = datetime(2026, 1, 1, tzinfo=UTC)


def parity(value: int) -> tuple[str, ...]:
    return ("even", "small") if value % 2 == 0 else ("odd",)


def moment(value: int) -> datetime | None:
    return START + timedelta(days=value) if value else None


def check(found: Table[int], wanted: dict[str, int]) -> None:
    assert list(found.items()) == list(wanted.items())
    assert list(found) == list(wanted)
    assert len(found) == len(wanted)
    assert found == wanted
    assert repr(found) == f"Table({wanted!r})"
    for name in ("even", "odd"):
        having = [(key, value) for key, value in wanted.items() if name in parity(value)]
        assert found.having(parity, name) == tuple(value for _, value in having)
        assert found.count_having(parity, name) == len(having)
        assert found.first_having(parity, name) == (having[0] if having else None)
    moments = [when for value in wanted.values() if (when := moment(value)) is not None]
    assert found.least(moment) == min(moments, default=None)
    limit = START + timedelta(days=3)
    assert found.until(moment, limit) == tuple(v for v in wanted.values() if v and moment(v) <= limit)  # type: ignore[operator]


@given(STEPS)
def test_it_is_a_dict(steps: list[tuple[str, int | None]]) -> None:
    """After any changes it holds what a dict would, in its order, and answers from memory as if it had looked."""
    found, wanted = Table[int](), dict[str, int]()
    for key, value in steps:
        check(found, wanted)
        if value is None:
            found = found.without_key(key)
            wanted.pop(key, None)
        else:
            found = found.with_key(key, value)
            wanted[key] = value
    check(found, wanted)
    check(Table(wanted), wanted)


@given(STEPS, KEYS)
def test_it_never_changes(steps: list[tuple[str, int | None]], key: str) -> None:
    """What a change leaves behind is as it was, also what it remembers."""
    before = Table({name: value for name, value in steps if value is not None})
    kept = dict(before)
    check(before, kept)
    before.with_key(key, 4)
    before.without_key(key)
    check(before, kept)


def test_more_keys_than_buckets() -> None:
    """Order and content hold where buckets hold several keys."""
    wanted = {f"key-{number}": number for number in range(BUCKETS * 5)}
    found = Table[int]()
    for key, value in wanted.items():
        found = found.with_key(key, value)
    check(found, wanted)
    assert "key-7" in found
    assert "nothing" not in found
    assert table(found) is found
    assert table(wanted) == found


def test_a_snapshot_of_tables() -> None:
    """A state with tables is written and read like one with plain mappings, and goes on in the same way."""
    story = Story()
    story.spikes()
    again = codec.load_state(codec.dump_state(story.state))
    assert again == story.state
    assert all(isinstance(getattr(again, name), Table) for name in ("workloads", "alerts", "incidents", "owed"))
    assert again.next_deadline() == story.state.next_deadline()
    assert again.open_incidents == story.state.open_incidents


def test_what_becomes_due() -> None:
    """What was touched leads to what is due: nothing that waits for its turn, and nothing that is settled."""
    story = Story()
    story.withheld = {Announce, Page}
    story.spikes()
    story.waits(timedelta(minutes=1))
    state = story.state
    assert 0 < len(state.due) < len(state.owed)
    assert {action.id for action in state.due_of(state.owed.values())} == {action.id for action in state.due}
    first = state.due[0]
    after = replace(state, owed=without_key(state.owed, first.id))
    assert set(after.due) - set(state.due) == set(after.due_of([first]))
    assert list(after.due_of(story.done[:1])) == []
