"""Facts, events and state as JSON and back, by their type hints (pydantic: one definition, no hand-written mapping).

Every row names its kind, so that a row of an unknown kind is reported by name instead of being taken for another one.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.ports import Journalled


class UnreadableRecordError(Exception):
    """A journal row that this release cannot read: written by a newer one, or damaged. Names the row's problem."""


@cache
def _facts() -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[Fact, Field(discriminator="kind")])


@cache
def _events() -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[Journalled, Field(discriminator="kind")])


@cache
def _state() -> TypeAdapter[State]:
    return TypeAdapter(State)


def dump_fact(fact: Fact) -> bytes:
    """One fact as compact JSON."""
    return _facts().dump_json(fact)


def load_fact(raw: bytes) -> Fact:
    """The fact of one row. Raises UnreadableRecordError."""
    return _load(_facts(), raw, "fact")  # type: ignore[no-any-return]


def dump_event(event: Journalled) -> bytes:
    """One accepted event as compact JSON."""
    return _events().dump_json(event)


def load_event(raw: bytes) -> Journalled:
    """The accepted event of one row. Raises UnreadableRecordError."""
    return _load(_events(), raw, "event")  # type: ignore[no-any-return]


def dump_state(state: State) -> bytes:
    """A snapshot of the state."""
    return _state().dump_json(state)


def load_state(raw: bytes) -> State:
    """The state of a snapshot. Raises UnreadableRecordError."""
    return _load(_state(), raw, "snapshot")  # type: ignore[no-any-return]


def _load(adapter: TypeAdapter[Any], raw: bytes, what: str) -> Any:
    try:
        return adapter.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableRecordError(f"{what}: {where or 'value'}: {first['msg']}") from None
