"""What is quarantined now, by the images that only quarantined revisions carry: for whoever keeps them out at admission."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.core.ledger import LedgerEntry
from daemon.core.model import IncidentId, Revision, Workload
from daemon.core.notices import digests_of
from daemon.core.state import State, Tracked


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A quarantined revision with what tells it from every other known revision of its workload.

    `images` are references as its template writes them, `digests` are `sha256:…`. Both may be empty: a change of settings
    alone has no image of its own, nor has a tag that a good revision carries as well (`:latest`).
    """

    workload: Workload
    revision: Revision
    by: IncidentId
    images: tuple[str, ...]
    digests: tuple[str, ...]


def quarantined(state: State) -> tuple[Quarantined, ...]:
    """Every quarantined revision, by workload, the newest first."""
    tracked = sorted(state.workloads.values(), key=lambda each: each.view.workload.key)
    return tuple(found for each in tracked for found in _of(each))


def _of(tracked: Tracked) -> list[Quarantined]:
    entries = tuple(tracked.ledger.values())
    others = tuple(entry.revision for entry in entries if entry.quarantined_by is None)
    images = frozenset(image for revision in others for image in revision.images)
    digests = frozenset[str]().union(*map(digests_of, others))
    held = (_own(tracked.view.workload, entry, images, digests) for entry in entries)
    return sorted((each for each in held if each is not None), key=lambda each: -(each.revision.number or 0))


def _own(workload: Workload, entry: LedgerEntry, images: frozenset[str], digests: frozenset[str]) -> Quarantined | None:
    if entry.quarantined_by is None:
        return None
    revision = entry.revision
    return Quarantined(
        workload=workload,
        revision=revision,
        by=IncidentId(entry.quarantined_by),
        images=tuple(sorted({*revision.images} - images)),
        digests=tuple(sorted(digests_of(revision) - digests)),
    )
