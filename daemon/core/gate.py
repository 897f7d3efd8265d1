"""May a pipeline roll out now? Asked before a deployment, so that a revision that was just rolled back does not come again.

Closed while the revision in question is quarantined, an incident is open about the workload, or it is paused. It informs: nobody
is kept from `kubectl`. Where an image can be read in two ways, it is taken for the quarantined one: a person can lift a
quarantine, nobody can unsend errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from daemon.core.ledger import LedgerEntry
from daemon.core.model import Revision, Workload
from daemon.core.notices import digests_of
from daemon.core.state import State, Tracked

_HUBS = ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/")
"""What clients put before the name of an image of the default registry, the longer ones first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The answer: every reason to stay away, and what else whoever asks should know."""

    workload: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Nothing speaks against a rollout."""
        return not self.reasons


def gate(state: State, workload: str, image: str | None, now: datetime) -> Gate:
    """May `namespace/name` (or `namespace/Kind/name`) be rolled out now, to this image where one is given?

    An image is a digest (`sha256:…`), a reference with or without registry and digest, or a tag; it stands for every revision
    that has it in any container. Without one the revision that runs now is meant. Of several kinds of one name all are asked.
    """
    found = [each for each in state.workloads.values() if _named(each.view.workload, workload)]
    reasons = [
        *(reason for tracked in found for reason in _quarantined(tracked, image)),
        *_incidents(state, workload),
        *_paused(state, [each.view.workload for each in found] or [_unknown(workload)], now),
        *(_rollout_paused(each.view.workload) for each in found if each.view.paused),
    ]
    notes = [note for tracked in found for note in _notes(tracked, image)]
    if not found:
        notes.append(f"{workload} is not known here: first deployment?")
    return Gate(workload=workload, reasons=tuple(dict.fromkeys(reasons)), notes=tuple(notes))


def _named(workload: Workload, name: str) -> bool:
    return name in (workload.short, workload.key)


def _unknown(name: str) -> Workload:
    """What was never seen may be paused all the same: a freeze of a namespace holds for what is new in it."""
    namespace, _, rest = name.partition("/")
    return Workload(namespace=namespace, kind="", name=rest.rpartition("/")[2])


def _quarantined(tracked: Tracked, image: str | None) -> Iterator[str]:
    workload = tracked.view.workload
    for entry in _in_question(tracked, image):
        if entry.quarantined_by is not None:
            revision = entry.revision
            lifts = f"`lastgood release {workload.short} --revision {revision.id[:8]}` lifts it"
            yield f"{revision.label} is quarantined by {entry.quarantined_by}: it was rolled back; {lifts}"


def _in_question(tracked: Tracked, image: str | None) -> list[LedgerEntry]:
    if image is None:
        current = tracked.entry(tracked.view.current.id)
        return [] if current is None else [current]
    return [entry for entry in tracked.ledger.values() if _has(tracked, entry.revision, image)]


def _incidents(state: State, workload: str) -> Iterator[str]:
    for incident in state.open_incidents:
        about = (incident.symptom, incident.suspect or incident.symptom)
        if any(_named(each, workload) for each in about):
            blames = f", {incident.blamed.label} is blamed" if incident.blamed is not None else ""
            yield f"{incident.id} is open ({incident.phase}{blames}); `lastgood explain {incident.id}` tells why"


def _paused(state: State, workloads: list[Workload], now: datetime) -> Iterator[str]:
    for workload in workloads:
        why = state.paused_by(workload, now)
        if why is not None:
            yield why


def _rollout_paused(workload: Workload) -> str:
    return f"the rollout of {workload.short} is paused in its spec; `kubectl rollout resume` continues it"


def _notes(tracked: Tracked, image: str | None) -> Iterator[str]:
    if image is None:
        return
    view = tracked.view
    known = {each.id: each for each in (view.current, *view.history)}
    known.update({entry.revision.id: entry.revision for entry in tracked.ledger.values()})
    if not any(_has(tracked, revision, image) for revision in known.values()):
        yield f"no revision of {view.workload.short} that is known here has this image"
    if _parts(image)[0] is None:
        for entry in tracked.ledger.values():
            if entry.quarantined_by is not None and not _digests(tracked, entry.revision):
                yield f"{entry.revision.label} is quarantined and its digests are not known here: ask by tag too"


def _has(tracked: Tracked, revision: Revision, image: str) -> bool:
    return has_image(revision, image, _digests(tracked, revision))


def _digests(tracked: Tracked, revision: Revision) -> frozenset[str]:
    """What the revision is known by: its own digests, and those that pipelines named for its rollouts."""
    told = [(tracked.rollout.revision, tracked.notices)] if tracked.rollout is not None else []
    told += [(past.revision, past.notices) for past in tracked.past]
    said = (notice.digests for of, notices in told if of.id == revision.id for notice in notices)
    return digests_of(revision).union(*said)


def has_image(revision: Revision, image: str, digests: frozenset[str]) -> bool:
    """One of the revision's containers has this image; `digests` is what the revision is known by.

    A digest decides wherever digests are known. Else the reference is compared (`web:v2` is also
    `registry.example/shop/web:v2`), and a word alone is also taken for a tag.
    """
    name, digest = _parts(image)
    if digest is not None and digests:
        return digest in digests
    return name is not None and any(_same(own, name) for own in revision.images)


def _parts(image: str) -> tuple[str | None, str | None]:
    """Name with its tag, and digest; each None where it is not said."""
    if image.startswith("sha256:"):
        return None, image
    name, _, digest = image.partition("@")
    return name or None, digest or None


def _same(own: str, asked: str) -> bool:
    name, pinned = _parts(own)
    if name is None:
        return False
    full, tag = _tagged(name, pinned)
    wanted, _ = _tagged(asked, None)
    return asked == tag or full == wanted or full.endswith(f"/{wanted}")


def _tagged(name: str, pinned: str | None) -> tuple[str, str]:
    """The familiar form of a name and its tag: the default registry left out, `latest` where neither tag nor digest says more."""
    prefix = next((hub for hub in _HUBS if name.startswith(hub)), "")
    familiar = name.removeprefix(prefix)
    tag = familiar.rpartition("/")[2].partition(":")[2]
    if tag or pinned is not None:
        return familiar, tag
    return f"{familiar}:latest", "latest"
