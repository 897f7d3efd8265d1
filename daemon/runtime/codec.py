"""Facts, events and state as JSON and back, by their type hints (pydantic: one definition, no hand-written mapping).

Every row names its kind, so that a row of an unknown kind is reported by name instead of being taken for another one.
What is written can be read again, whatever is in it: one number or character must not keep the next life from starting.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.core.table import Table
from daemon.ports import Journalled

_PLAIN = ConfigDict(ser_json_inf_nan="constants")
"""NaN and the infinities by name: by default they are written as null, which is no number when it is read."""


_TABLES = tuple(each.name for each in fields(State) if each.default_factory is Table)
"""Fields of the state that are mappings of our own (daemon/core/table.py): written as plain ones."""


class UnreadableRecordError(Exception):
    """A journal row that this release cannot read: written by a newer one, or damaged. Names the row's problem."""


@cache
def _facts() -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[Fact, Field(discriminator="kind")], config=_PLAIN)


@cache
def _events() -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[Journalled, Field(discriminator="kind")], config=_PLAIN)


@cache
def _state() -> TypeAdapter[Any]:
    # A dataclass takes no config beside it; a union does, and hands it down.
    return TypeAdapter(State | None, config=_PLAIN)


def dump_fact(fact: Fact) -> bytes:
    """One fact as compact JSON."""
    return _dump(_facts(), fact)


def load_fact(raw: bytes) -> Fact:
    """The fact of one row. Raises UnreadableRecordError."""
    return _load(_facts(), raw, "fact")  # type: ignore[no-any-return]


def dump_event(event: Journalled) -> bytes:
    """One accepted event as compact JSON."""
    return _dump(_events(), event)


def load_event(raw: bytes) -> Journalled:
    """The accepted event of one row. Raises UnreadableRecordError."""
    return _load(_events(), raw, "event")  # type: ignore[no-any-return]


def dump_state(state: State) -> bytes:
    """A snapshot of the state."""
    return _dump(_state(), _with_tables(state, dict))


def load_state(raw: bytes) -> State:
    """The state of a snapshot. Raises UnreadableRecordError."""
    state: State = _load(_state(), raw, "snapshot")
    return _with_tables(state, Table)


def _with_tables(state: State, made: Callable[[Any], Any]) -> State:
    tables: dict[str, Any] = {name: made(getattr(state, name)) for name in _TABLES}
    return replace(state, **tables)


def _dump(adapter: TypeAdapter[Any], value: Any) -> bytes:
    try:
        return adapter.dump_json(value)
    except PydanticSerializationError:
        # Half a surrogate pair, which is no character: the edges refuse or replace it, the journal must not stop for it.
        return json.dumps(adapter.dump_python(value, mode="json"), ensure_ascii=False).encode(errors="replace")


def _load(adapter: TypeAdapter[Any], raw: bytes, what: str) -> Any:
    try:
        return adapter.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableRecordError(f"{what}: {where or 'value'}: {first['msg']}") from None
