"""How people name a revision: `previous`, its number, an image's tag or reference, or the start of its hash."""

from __future__ import annotations

from daemon.core.model import Revision
from daemon.core.state import Tracked

HASH_MIN = 4
"""Characters of a hash that are taken for one; shorter ones are met by chance."""


def named(tracked: Tracked, text: str) -> tuple[Revision, ...]:
    """The revisions of the history that `text` may mean, newest first; several where it is not clear, none where unknown.

    The first way of reading it that finds something wins: previous, number, tag or reference, hash.
    """
    history = sorted(tracked.view.history, key=lambda revision: revision.number or 0, reverse=True)
    if text == "previous":
        return _previous(tracked, history)
    for found in (_numbered(history, text), _tagged(history, text), _hashed(history, text)):
        if found:
            return found
    return ()


def _previous(tracked: Tracked, history: list[Revision]) -> tuple[Revision, ...]:
    """The revision that the latest rollout replaced, as long as the history has it."""
    replaced = tracked.rollout.replaced if tracked.rollout is not None else None
    return tuple(revision for revision in history if replaced is not None and revision.id == replaced.id)


def _numbered(history: list[Revision], text: str) -> tuple[Revision, ...]:
    return tuple(revision for revision in history if text == str(revision.number))


def _tagged(history: list[Revision], text: str) -> tuple[Revision, ...]:
    return tuple(revision for revision in history if any(_is_named(image, text) for image in revision.images))


def _is_named(image: str, text: str) -> bool:
    last = image.rpartition("/")[2]
    return text in (image, last, last.partition("@")[0].partition(":")[2], image.partition("@")[2])


def _hashed(history: list[Revision], text: str) -> tuple[Revision, ...]:
    """By our hash of the template, or by Kubernetes' (`pod-template-hash`, the end of the ReplicaSet's name)."""
    if len(text) < HASH_MIN:
        return ()
    return tuple(
        revision
        for revision in history
        if revision.id.startswith(text) or (revision.replica_set or "").rpartition("-")[2].startswith(text)
    )
