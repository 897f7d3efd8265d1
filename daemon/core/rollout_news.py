"""What people are told of a rollout without any incident: a revision that was rolled back is there again; a change came past the
pipeline.

Announced once each, and nothing is done about it. The same revision is not rolled back a second time by itself (COOLING_DOWN), so
that Lastgood and whoever deploys it again never take turns; `lastgood release` accepts it.
"""

from __future__ import annotations

from datetime import timedelta
from fnmatch import fnmatchcase

from daemon.core import soaking
from daemon.core.actions import Announce
from daemon.core.brief import Brief
from daemon.core.briefs import cut
from daemon.core.draft import Draft
from daemon.core.ledger import LedgerEntry
from daemon.core.model import ActionId, IncidentId, Revision, Rollout
from daemon.core.notices import digests_of
from daemon.core.state import Tracked

TELL_FOR = timedelta(hours=6)
"""How long the announcement is tried: later, whoever deployed it has long seen what became of it."""


def began(draft: Draft, rollout: Rollout) -> None:
    """A rollout was seen to begin."""
    _came_back(draft, rollout)
    _past_the_pipeline(draft, rollout)


def learned(draft: Draft, rollout: Rollout) -> None:
    """More became known of a rollout: its digests, which only its pods tell."""
    _came_back(draft, rollout)


def _came_back(draft: Draft, rollout: Rollout) -> None:
    """By its hash, or in another template by the image that only quarantined revisions carry; that one is quarantined as well."""
    key, revision = rollout.workload.key, rollout.revision
    tracked = draft.state.workloads[key]
    entry = tracked.entry(revision.id)
    known = entry is not None and entry.quarantined_by is not None
    bad = entry if known else _same_image(tracked, revision)
    if rollout.ours is not None or bad is None or bad.quarantined_by is None or bad.came_back_at is not None:
        return
    because = "deployed again" if known else f"it carries the image of {bad.revision.label}"
    soaking.came_back(draft, key, entry or LedgerEntry(revision=revision), bad.quarantined_by, because)
    short = rollout.workload.short
    what = "was rolled back" if known else f"carries an image that was rolled back ({bad.revision.label})"
    commands = (f"lastgood release {short} --revision {revision.id[:8]}", f"lastgood rollback {short}")
    update = (
        f"{revision.label} {what} by {bad.quarantined_by}. Lastgood leaves it: release it, or roll it back yourself."
    )
    name = f"came_back/{key}/{revision.id}/{bad.quarantined_by}"
    headline = "a revision that was rolled back is deployed again"
    _announce(draft, rollout, name, headline, update, commands, incident=bad.quarantined_by)


def _same_image(tracked: Tracked, revision: Revision) -> LedgerEntry | None:
    """The quarantined revision of which this one carries a digest that no other revision is known by."""
    entries = tuple(tracked.ledger.values())
    good = frozenset[str]().union(*(digests_of(each.revision) for each in entries if each.quarantined_by is None))
    mine = digests_of(revision) - good
    held = (each for each in entries if each.quarantined_by is not None and each.revision.id != revision.id)
    return next((each for each in held if mine & digests_of(each.revision)), None)


def _past_the_pipeline(draft: Draft, rollout: Rollout) -> None:
    """Where the policy names the pipelines' field managers, any other that changed a template is told of."""
    managers, by = draft.policy.pipeline_managers, rollout.changed_by
    if not managers or by is None or rollout.ours is not None or rollout.replaced is None or rollout.in_place:
        return
    if any(fnmatchcase(by, glob) for glob in managers):
        return
    update = f"Changed by {cut(by)}, which is none of the pipelines that the policy names. Nothing was done about it."
    name = f"past_pipeline/{rollout.workload.key}/{rollout.revision.id}/{rollout.started_at:%Y%m%dT%H%M%S}"
    _announce(
        draft, rollout, name, "changed past the pipeline", update, (f"lastgood history {rollout.workload.short}",)
    )


def _announce(
    draft: Draft,
    rollout: Rollout,
    name: str,
    headline: str,
    update: str,
    commands: tuple[str, ...],
    *,
    incident: str = "",
) -> None:
    old = rollout.replaced.label if rollout.replaced is not None else "?"
    by = f" by {cut(rollout.changed_by)}" if rollout.changed_by else ""
    brief = Brief(
        incident=incident,
        headline=f"{rollout.workload.short}: {headline}",
        phase="note",
        workload=rollout.workload.key,
        changed=f"{cut(old)} → {cut(rollout.revision.label)}{by}",
        since=rollout.started_at,
        wide="",
        done="nothing",
        refusals=(),
        evidence=(),
        commands=commands,
        update=update,
        final=True,
    )
    draft.owe(
        Announce(
            id=ActionId(name),
            deadline=draft.now + TELL_FOR,
            incident=IncidentId(name),
            thread=None,
            channel=None,
            brief=brief,
        )
    )
