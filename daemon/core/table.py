"""A mapping that is never mutated and yet cheap to change: what the state keeps its many alerts and workloads in.

Copying a dict per fact made a storm quadratic: 4,000 new alerts in one webhook took more than a second. A Table spreads its
entries over buckets; a change copies one bucket and the list of buckets. What is asked of it again and again (which
incidents are open, what is due next) is remembered per bucket, so that after a change one bucket is looked through anew
instead of everything. Nothing of that is part of its value, so nothing can be out of step with the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any, Generic, TypeVar

BUCKETS = 128
"""A power of two. A change costs about BUCKETS + entries / BUCKETS steps: near its least for the 20,000 alerts we keep."""

_MASK = BUCKETS - 1
_number = itemgetter(0)
_UNKNOWN: Any = object()

Value = TypeVar("Value")
KeysOf = Callable[[Value], Iterable[Hashable]]
MomentOf = Callable[[Value], datetime | None]
Entry = tuple[int, str, Value]  # its place in the order of insertion, its key, its value


class _Bucket(Generic[Value]):
    """Some of the entries, each with its place in the order of insertion, and what was derived from them by function.

    The functions are the keys of `derived`: they are module-level functions, so there are few.
    """

    __slots__ = ("derived", "entries")

    def __init__(self, entries: dict[str, Entry[Value]]) -> None:
        self.entries = entries
        self.derived: dict[Callable[..., Any], Any] = {}

    def index(self, keys_of: KeysOf[Value]) -> dict[Hashable, list[Entry[Value]]]:
        """The entries by what `keys_of` says of their values."""
        known: dict[Hashable, list[Entry[Value]]] | None = self.derived.get(keys_of)
        if known is None:
            known = {}
            for entry in self.entries.values():
                for key in keys_of(entry[2]):
                    known.setdefault(key, []).append(entry)
            self.derived[keys_of] = known
        return known

    def least(self, moment_of: MomentOf[Value]) -> datetime | None:
        """The earliest moment of a value in here."""
        known: datetime | None = self.derived.get(moment_of, _UNKNOWN)
        if known is _UNKNOWN:
            moments = (moment_of(value) for _, _, value in self.entries.values())
            known = self.derived[moment_of] = min((moment for moment in moments if moment is not None), default=None)
        return known


_EMPTY: _Bucket[Any] = _Bucket({})


class Table(Mapping[str, Value]):
    """A mapping by strings, in the order of insertion like a dict; a changed key keeps its place in it."""

    __slots__ = ("_buckets", "_following", "_in_order", "_size")

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        """A table with these values; an empty one by default."""
        parts: dict[int, dict[str, Entry[Value]]] = {}
        for number, (key, value) in enumerate((values or {}).items()):
            parts.setdefault(_place(key), {})[key] = (number, key, value)
        self._buckets: list[_Bucket[Value]] = [_EMPTY] * BUCKETS
        for place, entries in parts.items():
            self._buckets[place] = _Bucket(entries)
        self._size = self._following = len(values or ())
        self._in_order: dict[str, Value] | None = None

    def __getitem__(self, key: str) -> Value:
        return self._buckets[_place(key)].entries[key][2]

    def get(self, key: str, default: Any = None) -> Any:  # Mapping's own raises and catches a KeyError
        """The value of the key, or the default."""
        entry = self._buckets[hash(key) & _MASK].entries.get(key)
        return default if entry is None else entry[2]

    def __contains__(self, key: object) -> bool:
        return key in self._buckets[_place(key)].entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._ordered())

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"Table({self._ordered()!r})"

    def values(self) -> Any:  # Mapping's own goes through __getitem__, key by key
        """The values, in order."""
        return self._ordered().values()

    def items(self) -> Any:
        """Keys and values, in order."""
        return self._ordered().items()

    def with_key(self, key: str, value: Value) -> Table[Value]:
        """This table with the key set."""
        place = _place(key)
        entries = self._buckets[place].entries
        known = entries.get(key)
        number = self._following if known is None else known[0]
        return self._changed(place, {**entries, key: (number, key, value)})

    def without_key(self, key: str) -> Table[Value]:
        """This table without the key."""
        if key not in self:
            return self
        place = _place(key)
        entries = self._buckets[place].entries.copy()
        del entries[key]
        return self._changed(place, entries)

    def having(self, keys_of: KeysOf[Value], key: Hashable) -> tuple[Value, ...]:
        """The values of which `keys_of` (a module-level function) yields the key, in order."""
        found: list[Entry[Value]] = []
        for bucket in self._buckets:
            if bucket is not _EMPTY and (entries := bucket.index(keys_of).get(key)):
                found += entries
        found.sort(key=_number)
        return tuple([value for _, _, value in found])

    def count_having(self, keys_of: KeysOf[Value], key: Hashable) -> int:
        """How many values there are of which `keys_of` yields the key."""
        return sum([len(bucket.index(keys_of).get(key, ())) for bucket in self._buckets if bucket is not _EMPTY])

    def first_having(self, keys_of: KeysOf[Value], key: Hashable) -> tuple[str, Value] | None:
        """The first entry of whose value `keys_of` yields the key, without collecting the others."""
        indexes = (bucket.index(keys_of).get(key) for bucket in self._buckets if bucket is not _EMPTY)
        first = min((entries[0] for entries in indexes if entries), key=_number, default=None)
        return None if first is None else first[1:]

    def least(self, moment_of: MomentOf[Value]) -> datetime | None:
        """The earliest moment that `moment_of` (a module-level function) gives for a value; None where it gives none."""
        least: datetime | None = None
        for bucket in self._buckets:
            moment = bucket.least(moment_of) if bucket is not _EMPTY else None
            if moment is not None and (least is None or moment < least):
                least = moment
        return least

    def until(self, moment_of: MomentOf[Value], limit: datetime) -> tuple[Value, ...]:
        """The values whose moment is not after the limit, in order."""
        found: list[Entry[Value]] = []
        for bucket in self._buckets:
            if bucket is not _EMPTY and (least := bucket.least(moment_of)) is not None and least <= limit:
                for entry in bucket.entries.values():
                    if (moment := moment_of(entry[2])) is not None and moment <= limit:
                        found.append(entry)
        found.sort(key=_number)
        return tuple([value for _, _, value in found])

    def _changed(self, place: int, entries: dict[str, Entry[Value]]) -> Table[Value]:
        changed: Table[Value] = object.__new__(Table)
        changed._buckets = self._buckets.copy()
        changed._buckets[place] = _Bucket(entries) if entries else _EMPTY
        changed._size = self._size + len(entries) - len(self._buckets[place].entries)
        changed._following = self._following + 1
        changed._in_order = None
        return changed

    def _ordered(self) -> dict[str, Value]:
        if self._in_order is None:
            found = [entry for bucket in self._buckets for entry in bucket.entries.values()]
            found.sort(key=_number)
            self._in_order = {key: value for _, key, value in found}
        return self._in_order


def _place(key: object) -> int:
    # Another bucket in every process, which shows nowhere: everything that is given out is in the order of insertion.
    return hash(key) & _MASK


def table(mapping: Mapping[str, Value]) -> Table[Value]:
    """The mapping as a Table; the same object where it is one."""
    return mapping if isinstance(mapping, Table) else Table(mapping)
