"""Proving revisions: when to measure a soak, what its result does to the ledger, quarantine and release."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from daemon.core.actions import Action, ProveSoak, RollBack
from daemon.core.draft import Draft
from daemon.core.facts import LedgerWritten
from daemon.core.incidents import Decision, Incident
from daemon.core.ledger import LedgerEntry, counted, next_check, proof_of
from daemon.core.measurement import Sample, SoakMeasurement
from daemon.core.model import ActionId, Revision, RevisionId, Rollout, Workload, WorkloadKey, WorkloadView
from daemon.core.reasons import Reason
from daemon.core.state import Tracked
from daemon.core.table import table

SOAK_FOR = timedelta(minutes=5)
"""How long a soak measurement is retried before the next one is scheduled anyway."""

What = Literal["serving", "counted", "verified", "withdrawn", "quarantined", "released"]


def _write(draft: Draft, workload: WorkloadKey, entry: LedgerEntry, what: What, because: str = "") -> None:
    draft.add(LedgerWritten(at=draft.now, workload=workload, entry=entry, what=what, because=because))


def serving(draft: Draft, view: WorkloadView) -> None:
    """The current revision alone serves: its clock may run from now on (backwards too: the first check looks back)."""
    if view.serving != (view.current.id,) or view.available_since is None:
        return
    tracked = draft.state.workloads[view.workload.key]
    entry = tracked.entry(view.current.id)
    if entry is None:
        entry = LedgerEntry(revision=view.current)
    if entry.serving_since is not None and entry.next_check is not None:
        return
    if _asked(draft, view.workload.key, view.current):
        return
    since = max(view.started_at, entry.checked_until or view.started_at)
    entry = replace(entry, revision=view.current, serving_since=since, next_check=draft.now)
    _write(draft, view.workload.key, entry, "serving")


def _asked(draft: Draft, workload: WorkloadKey, revision: Revision) -> bool:
    return table(draft.state.owed).first_having(_proven, (workload, revision.id)) is not None


def _proven(action: Action) -> tuple[tuple[WorkloadKey, RevisionId], ...]:
    return ((action.workload.key, action.revision.id),) if isinstance(action, ProveSoak) else ()


def due(draft: Draft, tracked: Tracked) -> None:
    """Measure the current revision's soak when its time has come, if it is the only one that serves."""
    entry = tracked.entry(tracked.view.current.id)
    if entry is None or entry.next_check is None or entry.next_check > draft.now:
        return
    key = tracked.view.workload.key
    alone = tracked.view.serving == (tracked.view.current.id,) or _all_broke(tracked, entry)
    if not alone or _asked(draft, key, tracked.view.current):
        _write(draft, key, replace(entry, next_check=None), "counted")
        return
    _prove(draft, tracked, entry, until=None)


def _all_broke(tracked: Tracked, entry: LedgerEntry) -> bool:
    """None of the pods that the mark is about serves any more, and not for want of a node or an image: that is looked at too."""
    return entry.proof is not None and tracked.view.serving == () and tracked.view.start_failure is not None


def last_check(draft: Draft, tracked: Tracked, rollout: Rollout) -> None:
    """A newer rollout began: count what the replaced revision has earned up to then, while its pods can still be seen.

    Its clock stops here: when it serves again, time in between must not count.
    """
    entry = tracked.entry(rollout.replaced.id) if rollout.replaced else None
    if entry is None:
        return
    if entry.serving_since is not None and not _asked(draft, rollout.workload.key, entry.revision):
        _prove(draft, tracked, entry, until=rollout.started_at)
    current = draft.state.workloads[rollout.workload.key].entry(entry.revision.id)
    if current is not None and current.next_check is not None:
        _write(draft, rollout.workload.key, replace(current, next_check=None), "counted")


def _prove(draft: Draft, tracked: Tracked, entry: LedgerEntry, until: datetime | None) -> None:
    workload = tracked.view.workload
    earliest = draft.now - draft.policy.soak_low_traffic
    known = (entry.checked_until, entry.serving_since)
    since = max(earliest, *(moment for moment in known if moment is not None))
    if until is not None and until <= since:
        return
    draft.owe(
        ProveSoak(
            id=ActionId(f"soak/{workload.key}/{entry.revision.id}/{draft.now:%Y%m%dT%H%M%S%f}"),
            deadline=draft.now + SOAK_FOR,
            workload=workload,
            revision=entry.revision,
            since=since,
            until=until,
            baseline=_baseline(tracked, entry),
        )
    )


def usual(draft: Draft, incident: Incident) -> Sample | None:
    """By what the watch has found the revision unhealthy, so that a look at the regression measures with the same rule."""
    tracked = draft.state.workloads.get((incident.suspect or incident.symptom).key)
    entry = tracked.entry(tracked.view.current.id) if tracked is not None else None
    found = _baseline(tracked, entry) if incident.regression and tracked is not None and entry is not None else ()
    return Sample(at=draft.now, values=found) if found else None


def _baseline(tracked: Tracked, entry: LedgerEntry) -> tuple[tuple[str, float], ...]:
    """Typical signals of the revision verified before this one."""
    others = [
        other
        for other in tracked.ledger.values()
        if other.revision.id != entry.revision.id and other.verified and other.baseline
    ]
    newest = max(others, key=lambda other: other.revision.number or 0, default=None)
    return newest.baseline if newest else ()


def soaked(draft: Draft, workload: Workload, revision: Revision, soak: SoakMeasurement | None) -> bool:
    """A soak measurement came in (None: it failed, try again later). True when the serving revision lost its mark by it.

    A regression that began while the mark was watched withdraws it, and with that the revision is no target any more.
    """
    tracked = draft.state.workloads.get(workload.key)
    entry = tracked.entry(revision.id) if tracked else None
    if tracked is None or entry is None:
        return False
    current = tracked.view.current.id == revision.id
    if soak is None or soak.missing:
        if current:
            later = draft.now + max(draft.policy.sample_interval, draft.policy.soak / 10)
            _write(draft, workload.key, replace(entry, next_check=later), "counted", "not measured")
        return False
    if suspended(draft, workload, revision):
        later = draft.now + max(draft.policy.sample_interval, draft.policy.soak / 10)
        entry = replace(entry, checked_until=soak.until, next_check=later if current else None)
        _write(draft, workload.key, entry, "counted", "suspended: it is under blame, so this time does not count")
        return False
    entry = counted(entry, soak)
    what: What = "counted"
    if soak.regressed_at is not None and entry.lost_by(soak.regressed_at):
        entry, what = replace(entry, proof=None, withdrawn=soak.because), "withdrawn"
    elif entry.quarantined_by is None:
        proof = proof_of(entry, draft.policy, draft.now, backwards=_backwards(draft, soak))
        if proof is not None and (entry.proof is None or entry.proof.kind is not proof.kind):
            entry, what = replace(entry, proof=proof, withdrawn=None), "verified"
    entry = replace(entry, next_check=_again(draft, entry, soak) if current else None)
    _write(draft, workload.key, entry, what, soak.because)
    return current and what == "withdrawn"


def _again(draft: Draft, entry: LedgerEntry, soak: SoakMeasurement) -> datetime:
    """When to look next: by its schedule, but soon where it is not told yet whether it is a blip or a regression."""
    regular = next_check(entry, draft.policy, draft.now)
    if soak.unhealthy_at is None or soak.regressed_at is not None:
        return regular
    return min(regular, draft.now + draft.policy.persistence_of * draft.policy.sample_interval)


def _backwards(draft: Draft, soak: SoakMeasurement) -> bool:
    """Part of the proof lies before this life of the daemon: it was read from history."""
    return draft.state.started_at is not None and soak.since < draft.state.started_at


def suspended(draft: Draft, workload: Workload, revision: Revision) -> bool:
    """Blame suspends the soak, until a person declines what was proposed or says that the blame was wrong."""
    return any(
        incident.suspect == workload and incident.blamed is not None and incident.blamed.id == revision.id
        for incident in draft.state.open_incidents
        if not incident.judged_wrong and incident.reason is not Reason.DECLINED
    )


def quarantine(draft: Draft, action: RollBack) -> None:
    """An executed rollback quarantines the revision until it is released, cleared or judged wrong (maybe before it ran)."""
    tracked = draft.state.workloads.get(action.workload.key)
    incident = draft.state.incidents.get(action.incident)
    if tracked is None or (incident is not None and incident.judged_wrong):
        return
    entry = tracked.entry(action.blamed.id) or LedgerEntry(revision=action.blamed)
    entry = replace(entry, quarantined_by=action.incident, next_check=None)
    _write(draft, action.workload.key, entry, "quarantined", action.why)


def came_back(draft: Draft, workload: WorkloadKey, entry: LedgerEntry, incident: str, because: str) -> None:
    """What was rolled back is deployed again, or another template with its image: it stays, or becomes, quarantined."""
    entry = replace(entry, quarantined_by=incident, came_back_at=draft.now, next_check=None)
    _write(draft, workload, entry, "quarantined", because)


def undone(draft: Draft, rollout: Rollout) -> None:
    """Somebody went back to an older revision by hand: what they went away from is bad, and must not be a target again."""
    old = rollout.replaced
    ours = any(incident.roll_back == rollout.ours for incident in draft.state.incidents.values() if incident.roll_back)
    if old is None or ours or old.content == rollout.revision.content or not rollout.returns:
        return
    tracked = draft.state.workloads[rollout.workload.key]
    entry = tracked.entry(old.id) or LedgerEntry(revision=old)
    if entry.quarantined_by is None:
        by = f"the undo by {rollout.changed_by or 'somebody'}"
        entry = replace(entry, quarantined_by=by, next_check=None)
        _write(draft, rollout.workload.key, entry, "quarantined", f"{by} at {rollout.started_at:%H:%M:%S}Z")


def clear(draft: Draft, incident: Incident) -> None:
    """The rollback did not help: the revision was not the cause and gets back what it had."""
    if incident.suspect is None or incident.blamed is None:  # pragma: no cover  an invariant: what was rolled back
        return
    _release(draft, incident.suspect.key, incident.blamed.id, "cleared: the symptom stayed after the rollback")


def acquit(draft: Draft, decision: Decision, because: str) -> None:
    """The decision was wrong: what its rollback quarantined gets back what it had. A quarantine of another origin stays."""
    entry = _entry_of(draft, decision)
    if entry is not None and entry.quarantined_by == decision.incident:
        _release(draft, decision.workload.key, entry.revision.id, because)


def convict(draft: Draft, decision: Decision, because: str) -> None:
    """The decision was right after all: what its rollback had quarantined is kept out again."""
    entry = _entry_of(draft, decision)
    if entry is not None and entry.quarantined_by is None:
        entry = replace(entry, quarantined_by=decision.incident, next_check=None)
        _write(draft, decision.workload.key, entry, "quarantined", because)


def _entry_of(draft: Draft, decision: Decision) -> LedgerEntry | None:
    tracked = draft.state.workloads.get(decision.workload.key)
    return tracked.entry(decision.revision) if tracked is not None and decision.revision is not None else None


def release(draft: Draft, workload: WorkloadKey, revision: str | None, actor: str) -> int:
    """A person lifts the quarantine of one revision or of all; how many were lifted."""
    tracked = draft.state.workloads.get(workload)
    entries = tuple(tracked.ledger.values()) if tracked else ()
    names = [entry.revision.id for entry in entries if entry.quarantined_by and revision in (None, entry.revision.id)]
    for name in names:
        _release(draft, workload, name, f"released by {actor}")
    return len(names)


def _release(draft: Draft, workload: WorkloadKey, revision: str, because: str) -> None:
    tracked = draft.state.workloads.get(workload)
    entry = tracked.entry(revision) if tracked else None
    if tracked is None or entry is None or entry.quarantined_by is None:
        return
    due_now = draft.now if tracked.view.current.id == revision else None
    _write(
        draft, workload, replace(entry, quarantined_by=None, came_back_at=None, next_check=due_now), "released", because
    )


def trust_again(draft: Draft, incident: Incident) -> None:
    """After recovery the target is watched on, as closely as after its soak."""
    if incident.suspect is None or incident.target is None:  # pragma: no cover  an invariant: what was rolled back
        return
    tracked = draft.state.workloads.get(incident.suspect.key)
    entry = tracked.entry(incident.target.id) if tracked else None
    if entry is not None:
        entry = replace(entry, healthy_at=draft.now, recovered_at=draft.now, next_check=draft.now + draft.policy.soak)
        _write(draft, incident.suspect.key, entry, "counted", "recovered")
