"""Finds out whether a revision could be rolled back to right now. Reads, and tries with `dryRun=All`; changes nothing.

Proof of the past is not enough: the history object may be collected, a ConfigMap that the target names deleted, a new
admission policy in place. What our role may not read is named as unchecked rather than taken for present or missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from daemon.core.actions import Checked, CheckTarget, Outcome, OutcomeKind
from daemon.core.measurement import ConfigChange, TargetCheck
from handlers import revisions, rollback_steps, workload_objects
from handlers.faults import FaultKind, Permanent, shorten
from handlers.just_checked import JustChecked
from handlers.kube import resource_path
from handlers.kube_json import Obj
from handlers.references import Reference, RefKind, references_of
from handlers.rollback_steps import NoWay
from handlers.workload_objects import Api, Fresh

REFERENCES_MAX = 100
"""References that are looked up, one request each; a template with more names the rest as unchecked."""

RBAC_SAYS = "cannot patch resource"
"""In the authorizer's sentence ("User … cannot patch resource …"). Admission answers 403 Forbidden too, in other words, and what
it forbids is the target and not our role.
"""

AT_ONCE_MAX = 10
"""References that are looked up at the same time: a check lasts as long as its slowest, and does not flood the API server."""

PLURALS = {
    RefKind.CONFIG_MAP: "configmaps",
    RefKind.SECRET: "secrets",
    RefKind.CLAIM: "persistentvolumeclaims",
    RefKind.SERVICE_ACCOUNT: "serviceaccounts",
}


@dataclass(slots=True)
class _Found:
    missing: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    configs: list[ConfigChange] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What the API server says of the rollback (`error`: None where it would take it), whether we may send one at all, and
    why there is none to send.
    """

    error: str | None = None
    may_patch: bool = True
    no_way: str | None = None


class _Unreadable:
    """What our role may not read."""


def _note(found: _Found, reference: Reference, obj: Obj | _Unreadable | None) -> None:
    if isinstance(obj, _Unreadable):
        found.unchecked.append(str(reference))
    elif obj is None:
        found.missing += [] if reference.optional else [str(reference)]
    elif reference.kind is RefKind.CONFIG_MAP and (changed := changed_at(obj)) is not None:
        found.configs.append(ConfigChange(name=reference.name, changed_at=changed))


class TargetChecker:
    """Carries out CheckTarget. Raises Transient where the API server cannot be asked; never acts."""

    def __init__(self, api: Api, checked: JustChecked | None = None) -> None:
        self._api = api
        self._checked = checked or JustChecked()

    async def run(self, action: CheckTarget) -> Outcome:
        """Look for the history object, for everything the target's template names, and try the patch."""
        fresh = await workload_objects.read(self._api, action.workload, (action.blamed, action.target))
        target = None if fresh is None else fresh.find(action.target.id)
        if fresh is None or target is None or fresh.uid != action.uid:
            return _checked(TargetCheck(revision=action.target.id, exists=False))
        # Neither needs the other's answer, and errors are served while we ask.
        found, tried = await asyncio.gather(
            self._look_up(action, references_of(revisions.template_of(target))), self._try(action, fresh, target)
        )
        if tried == _Tried():
            self._checked.note(action, fresh)
        return _checked(
            TargetCheck(
                revision=action.target.id,
                exists=True,
                missing=tuple(found.missing),
                unchecked=tuple(found.unchecked),
                configs=tuple(found.configs),
                dry_run_error=tried.error,
                may_patch=tried.may_patch,
                no_way=tried.no_way,
            )
        )

    async def probe(self, action: CheckTarget) -> Outcome | None:
        """Nothing can have happened: it may always be run again."""
        return None

    async def _look_up(self, action: CheckTarget, references: Sequence[Reference]) -> _Found:
        namespace, found = action.workload.namespace, _Found()
        for start in range(0, min(len(references), REFERENCES_MAX), AT_ONCE_MAX):
            some = references[start : min(start + AT_ONCE_MAX, REFERENCES_MAX)]
            objects = await asyncio.gather(*(self._seen(namespace, reference) for reference in some))
            for reference, obj in zip(some, objects, strict=True):
                _note(found, reference, obj)
        found.unchecked += [str(reference) for reference in references[REFERENCES_MAX:]]
        return found

    async def _seen(self, namespace: str, reference: Reference) -> Obj | _Unreadable | None:
        """The object's metadata, None where there is none; `_Unreadable` where our role may not look."""
        path = resource_path("v1", PLURALS[reference.kind], namespace=namespace, name=reference.name)
        try:
            return await workload_objects.found(self._api, path, metadata_only=True)
        except Permanent as fault:
            if fault.kind is not FaultKind.AUTH:
                raise
            return _Unreadable()

    async def _try(self, action: CheckTarget, fresh: Fresh, target: revisions.Json) -> _Tried:
        """Send every step of the rollback with `dryRun=All`."""
        if not fresh.is_told:
            return _Tried(error=f"not tried: it cannot be told which revision of {action.workload.short} is current")
        if fresh.current != action.blamed.id:
            says = f"not tried: revision {fresh.current[:8]} is current, no longer the blamed {action.blamed.id[:8]}"
            return _Tried(error=says)
        if fresh.is_leaving:
            return _Tried(error=f"not tried: {action.workload.short} is being deleted")
        annotations = workload_objects.provenance(
            action=action.id,
            target=action.target.id,
            incident=action.incident,
            why=f"Lastgood would roll back to {action.target.label}",
        )
        steps = rollback_steps.steps(action.workload, fresh, target, annotations)
        if isinstance(steps, NoWay):
            return _Tried(no_way=steps.why)
        for step in steps:
            try:
                await self._api.patch_json(step.path, step.ops, dry_run=True)
            except Permanent as fault:
                if RBAC_SAYS in fault.reason:
                    return _Tried(may_patch=False)
                return _Tried(error=shorten("; ".join([fault.reason, *fault.causes])))
        return _Tried()


def changed_at(config: Obj) -> datetime | None:
    """When a ConfigMap's content last changed: the newest managedFields entry that owns data, else its creation.

    Labels and annotations written later (by a GitOps controller at each sync) change nothing that pods read.
    """
    metadata = config["metadata"]
    times = [
        revisions.parse_time(entry.get("time"))
        for entry in metadata.get("managedFields") or ()
        if _owns_data(entry.get("fieldsV1"))
    ]
    created = revisions.parse_time(metadata.get("creationTimestamp"))
    return max((at for at in times if at is not None), default=created)


def _owns_data(fields: Obj | None) -> bool:
    return fields is None or "f:data" in fields or "f:binaryData" in fields


def _checked(check: TargetCheck) -> Outcome:
    return Outcome(kind=OutcomeKind.DONE, result=Checked(check=check))
