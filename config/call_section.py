"""The setting `policy.calls`: whom each workload calls, where no mesh and no traces tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from config import problems, workload_names
from config.problems import Problem
from daemon.core.model import Workload

CALLS_MAX = 2_000
"""Calls in all: as many as one source of metrics may tell."""

Calls = tuple[tuple[Workload, Workload], ...]


def read(given: Mapping[str, tuple[str, ...]]) -> Calls:
    """Caller and callee of each call, in the order of the file. Raises pydantic's ValidationError, each with its path."""
    problems.refuse(_problems(given))
    found = ((_named(caller), _named(callee)) for caller, callees in given.items() for callee in callees)
    return tuple(dict.fromkeys((caller, callee) for caller, callee in found if caller and callee))


def _problems(given: Mapping[str, tuple[str, ...]]) -> Iterator[Problem]:
    if sum(map(len, given.values())) > CALLS_MAX:
        yield Problem(where=("calls",), text=f"holds more than {CALLS_MAX} calls; leave out those that metrics tell")
    for name, callees in given.items():
        caller, where = _named(name), ("calls", name)
        if caller is None:
            yield Problem(where=where, text=f"is no workload; {workload_names.HELP}")
        if not callees:
            yield Problem(where=where, text="is empty; name whom it calls, or leave it out")
        for place, callee in enumerate(callees):
            if _named(callee) is None:
                yield Problem(where=(*where, place), text=f"is no workload; {workload_names.HELP}")
            elif _named(callee) == caller:
                yield Problem(where=(*where, place), text="is the workload itself; remove it")


def _named(text: str) -> Workload | None:
    try:
        return workload_names.parse(text)
    except ValueError:
        return None
