"""What a running daemon adds to a recording: rollouts of kinds that kube-state-metrics does not tell, and what people judged.

From the documents of its HTTP API (`history`, `scorecard`), which are its journal's word. What is not understood is left out: a
recording must not fail because the daemon is older.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from handlers.backtest.recording import RolloutSeen, TruthSeen

Document = Mapping[str, Any]

TOLD_BY_METRICS = frozenset({"Deployment", "Rollout", "StatefulSet"})
"""Kinds whose rollouts kube-state-metrics tells, by their ReplicaSets or by themselves."""

BLAMED = frozenset({"roll_back", "propose"})


def untold(status: Document) -> Sequence[str]:
    """The workloads of a `status` whose rollouts only the daemon knows, as `namespace/Kind/name`."""
    rows = _list(_mapping(status.get("workloads")).get("rows"))
    names = [name for row in rows if isinstance(name := _mapping(row).get("workload"), str)]
    return [name for name in names if name.count("/") == 2 and name.split("/")[1] not in TOLD_BY_METRICS]


def rollouts(history: Document) -> Iterator[RolloutSeen]:
    """The rollouts of one workload's `history`, with their beginnings and ends."""
    workload = history.get("workload")
    if not isinstance(workload, str) or workload.count("/") != 2:
        return
    for each in _list(history.get("rollouts")):
        row = _mapping(each)
        revision, replaced = _id(row.get("revision")), _id(row.get("replaced"))
        began, ended = _moment(row.get("started_at")), _moment(row.get("completed_at"))
        if revision is None or replaced is None or began is None:
            continue
        yield RolloutSeen(at=began, workload=workload, revision=revision, replaces=replaced, phase="started")
        if ended is not None and ended >= began:
            yield RolloutSeen(at=ended, workload=workload, revision=revision, replaces=replaced, phase="completed")


def judged(scorecard: Document) -> Sequence[str]:
    """The workloads of a `scorecard` about which a person judged a decision."""
    found = []
    for each in _list(scorecard.get("workloads")):
        row = _mapping(each)
        name, decisions = row.get("workload"), _mapping(row.get("decisions"))
        if isinstance(name, str) and any(_mapping(made).get("right") for made in decisions.values()):
            found.append(name)
    return found


def truths(scorecard: Document) -> Iterator[TruthSeen]:
    """What people called right, of one workload's `scorecard`. Of what they called wrong nobody said who it was."""
    for each in _list(scorecard.get("workloads")):
        row = _mapping(each)
        name = row.get("workload")
        for decision in _list(row.get("latest")):
            found = _mapping(decision)
            at = _moment(found.get("at"))
            if (
                isinstance(name, str)
                and at is not None
                and found.get("word") == "right"
                and found.get("made") in BLAMED
            ):
                yield TruthSeen(at=at, culprit=name)


def _mapping(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _id(revision: object) -> str | None:
    found = _mapping(revision).get("id")
    return found if isinstance(found, str) and found else None


def _moment(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
