"""Facts, events and state as JSON and back, by their type hints (pydantic: one definition, no hand-written mapping).

Every row names its kind, so that a row of an unknown kind is reported by name instead of being taken for another one.
What is written can be read again, whatever is in it: one number or character must not keep the next life from starting.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any

import msgspec
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import CoreConfig, PydanticSerializationError, SchemaSerializer, SchemaValidator

from daemon.core.events import AlertsReported
from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.core.table import Table
from daemon.ports import Journalled

_PLAIN = ConfigDict(ser_json_inf_nan="constants")
"""NaN and the infinities by name: by default they are written as null, which is no number when it is read."""

_TABLES = tuple(each.name for each in fields(State) if each.default_factory is Table)
"""Fields of the state that are mappings of our own (daemon/core/table.py): written as plain ones."""

_WRITTEN_IF_ANY = frozenset({"stints", "new_stints", "old_stints"})
"""Fields of the core that are left out while they are empty, which is nearly always: only some kinds of workload have
them. A row without them is read as empty anyway, as those of older releases are."""

_WEBHOOK = msgspec.json.Encoder()
_WEBHOOK_ROW = msgspec.json.Decoder(AlertsReported)
"""Alerts, the one thing that comes in thousands per second, are written and read six and two times as fast by msgspec. It
gives the same bytes (a test compares them) because nothing in them is a number with a fraction."""


class UnreadableRecordError(Exception):
    """A journal row that this release cannot read: written by a newer one, or damaged. Names the row's problem."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of one type are read and written."""

    reads: SchemaValidator
    writes: SchemaSerializer


def _form(annotation: Any) -> _Form:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=_PLAIN)
    schema: Any = adapter.core_schema
    known = {each["ref"]: each for each in schema.get("definitions", ())}
    writes = SchemaSerializer(_without_nothing(schema), CoreConfig(ser_json_inf_nan="constants"))
    return _Form(SchemaValidator(_by_kind(schema, known)), writes)


def _without_nothing(schema: Any) -> Any:
    """The schema in which the fields of _WRITTEN_IF_ANY are left out while empty: the core knows no pydantic to say so."""
    if isinstance(schema, list | tuple):
        return type(schema)(_without_nothing(each) for each in schema)
    if not isinstance(schema, dict):
        return schema
    done = {key: _without_nothing(value) for key, value in schema.items()}
    if done.get("type") == "dataclass-field" and done["name"] in _WRITTEN_IF_ANY:
        done["serialization_exclude_if"] = operator.not_
    return done


def _by_kind(schema: Any, known: Mapping[str, Any]) -> Any:
    """The schema with every union of things that name their kind read by that name.

    The core's unions cannot carry pydantic's Discriminator, and without it each member is tried in turn: an owed action
    took 180 µs instead of 10, and a start folds up to 50,000 facts.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(_by_kind(each, known) for each in schema)  # a default may be a tuple, and must stay one
    if not isinstance(schema, dict):
        return schema
    done = {key: _by_kind(value, known) for key, value in schema.items()}
    kinds = _kinds(done["choices"], known) if done.get("type") == "union" else None
    if kinds is None:
        return done
    return {"type": "tagged-union", "discriminator": "kind", "choices": dict(zip(kinds, done["choices"], strict=True))}


def _kinds(choices: Sequence[Any], known: Mapping[str, Any]) -> list[str] | None:
    """The kind that each choice names; None where one of them names none."""
    found = []
    for choice in choices:
        full = known[choice["schema_ref"]] if choice["type"] == "definition-ref" else choice
        named = full.get("schema", {}).get("fields", ()) if full["type"] == "dataclass" else ()
        literals = [each["schema"]["schema"] for each in named if each["name"] == "kind" and "schema" in each["schema"]]
        if len(literals) != 1 or literals[0]["type"] != "literal":
            return None
        found += literals[0]["expected"]
    return found


@cache
def _facts() -> _Form:
    return _form(Annotated[Fact, Field(discriminator="kind")])


@cache
def _events() -> _Form:
    return _form(Annotated[Journalled, Field(discriminator="kind")])


@cache
def _state() -> _Form:
    # A dataclass takes no config beside it; a union does, and hands it down.
    return _form(State | None)


def prepare() -> None:
    """Build what reads and writes now (a fifth of a second): else it would be built while the first event waits."""
    for form in (_facts, _events, _state):
        form()


def dump_fact(fact: Fact) -> bytes:
    """One fact as compact JSON."""
    return _dump(_facts(), fact)


def load_fact(raw: bytes) -> Fact:
    """The fact of one row. Raises UnreadableRecordError."""
    return _load(_facts(), raw, "fact")  # type: ignore[no-any-return]


def dump_event(event: Journalled) -> bytes:
    """One accepted event as compact JSON."""
    if isinstance(event, AlertsReported):
        try:
            return _WEBHOOK.encode(event)
        except UnicodeEncodeError:
            pass  # see _dump
    return _dump(_events(), event)


def load_event(raw: bytes | str) -> Journalled:
    """The accepted event of one row, text where somebody edited it. Raises UnreadableRecordError."""
    if isinstance(raw, bytes) and raw.endswith(b'"kind":"alerts_reported"}'):
        try:
            return _WEBHOOK_ROW.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # the other road says by name what is wrong
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


def _dump(form: _Form, value: Any) -> bytes:
    try:
        return form.writes.to_json(value)
    except PydanticSerializationError:
        # Half a surrogate pair, which is no character: the edges refuse or replace it, the journal must not stop for it.
        return json.dumps(form.writes.to_python(value, mode="json"), ensure_ascii=False).encode(errors="replace")


def _load(form: _Form, raw: bytes | str, what: str) -> Any:
    try:
        return form.reads.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableRecordError(f"{what}: {where or 'value'}: {first['msg']}") from None
