"""Applications of Argo CD as raw JSON: which one is whose, its history, its operation, and auto-sync suspended with an end.

A rollback there is a sync with the source of an entry of `status.history`. What `argocd app rollback` makes Argo CD write is
written: `operation`, with `status.operationState` taken away (server/application/application.go, util/argo; an Application's
status is no subresource). The action's id travels in `operation.info`, which the controller copies into the operation's state,
so that what became of it is read there.

Auto-sync is switched off by `automated.enabled: false` where the API server keeps that field, else `automated` is taken
away. `lastgood.dev/auto-sync` holds it as it was, for the end; the other marks are those of `handlers.suspended`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.core.model import Owner
from handlers import gitops_owners, views
from handlers.kube import resource_path
from handlers.kube_json import Obj
from handlers.revisions import parse_time
from handlers.rollback_steps import NoWay
from handlers.suspended import SUSPENDED_BY, SUSPENDED_UNTIL
from handlers.workload_objects import FIELD_MANAGER, Api, annotation_path

AUTO_SYNC = "lastgood.dev/auto-sync"
MARKS = (SUSPENDED_BY, SUSPENDED_UNTIL, AUTO_SYNC, views.ACTION)

ENTRY = "lastgood.dev/history-id"
"""In `operation.info`, beside the action: which entry of the history it goes back to."""

SKEW = timedelta(seconds=30)
"""How far the clocks of Argo CD's controller, of the API server and of whoever dated the rollout may lie apart."""

_UNDER_WAY = ("Running", "Terminating")
_AUTOMATED = "/spec/syncPolicy/automated"
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What became of our operation. `phase` is Argo CD's, empty before its controller has begun, and where it is not known."""

    under_way: bool
    phase: str = ""
    message: str = ""
    entry: str = "?"

    @property
    def told(self) -> str:
        """Its phase and message, for people."""
        return f"{self.phase or 'no phase yet'}{': ' if self.message else ''}{self.message}"


# -- which Application -----------------------------------------------------------------------------------------------


def path_of(app: Obj) -> str:
    """Its address."""
    metadata = app["metadata"]
    version = gitops_owners.API_VERSIONS[gitops_owners.APPLICATIONS]
    return resource_path(version, gitops_owners.APPLICATIONS, namespace=metadata["namespace"], name=metadata["name"])


def label_of(app: Obj) -> str:
    """How it is told: `Application argocd/shop`."""
    return f"Application {app['metadata']['namespace']}/{app['metadata']['name']}"


async def named(api: Api, owner: Owner) -> list[Obj]:
    """The Applications that an Owner may mean by its name (`NAME`, or `NAMESPACE_NAME`). Raises Transient and Permanent."""
    namespace, _, name = owner.name.rpartition("_")
    version = gitops_owners.API_VERSIONS[gitops_owners.APPLICATIONS]
    path = resource_path(version, gitops_owners.APPLICATIONS, namespace=namespace or None)
    found: list[Obj] = []
    async for page in api.list_pages(path, field_selector=f"metadata.name={name}"):
        if page.first:
            found.clear()
        found.extend(page.items)
    return [each for each in found if each["metadata"]["name"] == name]


def only_one(found: Sequence[Obj], owner: Owner, workload: Obj) -> Obj | NoWay:
    """The one that deploys the workload to this cluster."""
    ours = [app for app in found if gitops_owners.deploys(app, workload, owner.name)]
    if len(ours) == 1:
        return ours[0]
    if ours:
        return NoWay(f"more than one Application is called {owner.name} and lists the workload")
    return NoWay(f"no Application called {owner.name} lists the workload and is known to deploy to this cluster")


def why_not(app: Obj, action: str) -> NoWay | None:
    """Why this Application is not rolled back by this action, whatever its history says."""
    metadata, label = app["metadata"], label_of(app)
    owners = [each for each in metadata.get("ownerReferences") or () if each.get("kind") == "ApplicationSet"]
    if owners:
        return NoWay(
            f"{label} is made by ApplicationSet {owners[0].get('name')}, which writes auto-sync back: "
            f"revert in the source, or let policy.gitops say git-revert"
        )
    if metadata.get("deletionTimestamp") is not None:
        return NoWay(f"{label} is being deleted")
    held = views.annotations_of(app).get(SUSPENDED_BY)
    if held not in (None, action) and is_ours(app):
        return NoWay(f"{label} is rolled back already, by {held}: another entry of its history might undo that")
    return None


# -- its history -----------------------------------------------------------------------------------------------------


def entry_of(app: Obj, commit: str | None, since: datetime | None) -> Obj | NoWay:
    """The one entry of its history that brought a revision: by the commit, else by the time that its rollout began."""
    history: list[Obj] = [each for each in (app.get("status") or {}).get("history") or () if _sources(each)]
    by_commit = [each for each in history if _is_of(each, commit)]
    if by_commit and _is_same(by_commit):
        return by_commit[-1]
    by_time = [each for each in by_commit or history if _holds(each, since)]
    if by_time and _is_same(by_time):
        return by_time[-1]
    known = " and ".join(
        [*([f"commit {commit}"] if commit else []), *([f"the rollout of {_clock(since)}"] if since else [])]
    )
    if not known:
        return NoWay("it is not known when, or with which commit, the target was deployed")
    how_many = "more than one entry" if by_time or by_commit else "no entry"
    return NoWay(f"{how_many} of the history of {label_of(app)} is that of {known}")


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _sources(entry: Obj) -> Obj:
    """What an entry was deployed from; empty in those of Argo CD before 0.12, which nobody can go back to."""
    picked = {key: entry.get(key) for key in ("revision", "revisions", "source", "sources")}
    kept = {key: value for key, value in picked.items() if value}
    if not (kept.get("source") or {}).get("repoURL"):
        kept.pop("source", None)  # beside several sources there may be an empty one
    return kept if "source" in kept or "sources" in kept else {}


def _is_same(entries: Sequence[Obj]) -> bool:
    """Deployed again from the same: any of them will do."""
    return all(_sources(each) == _sources(entries[0]) for each in entries)


def _is_of(entry: Obj, commit: str | None) -> bool:
    if commit is None or not _COMMIT.fullmatch(commit):
        return False
    revisions = [str(each) for each in (entry.get("revision"), *(entry.get("revisions") or ())) if each]
    return any(each.startswith(commit) for each in revisions)


def _holds(entry: Obj, moment: datetime | None) -> bool:
    """Whether its sync was under way then. The end alone says too little: a sync may take seconds or an hour."""
    start, end = parse_time(entry.get("deployStartedAt")), parse_time(entry.get("deployedAt"))
    return moment is not None and start is not None and end is not None and start - SKEW <= moment <= end + SKEW


# -- its operation ---------------------------------------------------------------------------------------------------


def is_busy(app: Obj) -> bool:
    """Whether an operation is asked for or under way, whoever's."""
    return app.get("operation") is not None or _state(app).get("phase") in _UNDER_WAY


def operation_of(app: Obj, action: str) -> Operation | None:
    """What became of the action's operation, None where it was never written."""
    state = _state(app)
    now, before = app.get("operation") or {}, state.get("operation") or {}
    ours = _info(before).get(views.ACTION) == action
    phase = str(state.get("phase") or "") if ours else ""
    message = str(state.get("message") or "") if ours else ""
    if _info(now).get(views.ACTION) == action or (ours and phase in _UNDER_WAY):
        entry = (_info(now) or _info(before)).get(ENTRY, "?")
        return Operation(under_way=True, phase=phase, message=message, entry=entry)
    if ours:
        return Operation(under_way=False, phase=phase, message=message, entry=_info(before).get(ENTRY, "?"))
    if views.annotations_of(app).get(views.ACTION) == action:
        return Operation(under_way=False, message="another operation has taken its place since")
    return None


def _state(app: Obj) -> Obj:
    return (app.get("status") or {}).get("operationState") or {}


def _info(operation: Obj) -> dict[str, str]:
    return {str(each.get("name")): str(each.get("value")) for each in operation.get("info") or ()}


def rollback_patch(app: Obj, entry: Obj, *, action: str, until: datetime, switch: bool) -> list[Obj]:
    """The JSON Patch that switches auto-sync off and asks for the rollback; it fails where anybody has written since.

    `switch`: by `automated.enabled`; else `automated` is taken away. Auto-sync that is off already is not claimed.
    """
    metadata = app["metadata"]
    marks = {views.ACTION: action}
    ops: list[Obj] = [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
    ]
    if auto_syncs(app):
        automated = app["spec"]["syncPolicy"]["automated"]
        off: Obj = {"op": "add", "path": f"{_AUTOMATED}/enabled", "value": False}
        ops.append(off if switch else {"op": "remove", "path": _AUTOMATED})
        marks |= {
            SUSPENDED_BY: action,
            SUSPENDED_UNTIL: until.astimezone(UTC).isoformat(timespec="seconds"),
            AUTO_SYNC: json.dumps(automated, sort_keys=True, separators=(",", ":")),
        }
    if metadata.get("annotations") is None:
        ops.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    ops += [{"op": "add", "path": annotation_path(key), "value": value} for key, value in marks.items()]
    if "operationState" in (app.get("status") or {}):
        ops.append({"op": "remove", "path": "/status/operationState"})
    return [*ops, {"op": "add", "path": "/operation", "value": _operation(app, entry, action)}]


def _operation(app: Obj, entry: Obj, action: str) -> Obj:
    """As `argocd app rollback` without `--prune`: what the entry did not have yet stays, hooks are not run."""
    sync: Obj = {**_sources(entry), "syncStrategy": {"apply": {}}}
    options = (app["spec"].get("syncPolicy") or {}).get("syncOptions")
    if options:
        sync["syncOptions"] = options
    info = [{"name": views.ACTION, "value": action}, {"name": ENTRY, "value": str(entry.get("id"))}]
    return {"initiatedBy": {"username": FIELD_MANAGER}, "info": info, "sync": sync}


# -- auto-sync, suspended with an end --------------------------------------------------------------------------------


def auto_syncs(app: Obj) -> bool:
    """Whether Argo CD syncs it by itself."""
    automated = _automated(app)
    return automated is not None and automated.get("enabled") is not False


def is_switched(app: Obj) -> bool:
    """Whether auto-sync is off by the switch: said of the answer to a dry run, that the API server keeps it."""
    return (_automated(app) or {}).get("enabled") is False


def is_ours(app: Obj) -> bool:
    """Whether auto-sync is off, and by us: our marks are there, and nobody has written the switch since."""
    annotations = views.annotations_of(app)
    if SUSPENDED_BY not in annotations or AUTO_SYNC not in annotations or auto_syncs(app):
        return False
    return _automated(app) is None or _owns_switch(app)


def marked_by(app: Obj) -> str:
    """The action whose suspension is to be ended, or its marks to be taken away; empty where there is none."""
    return views.annotations_of(app).get(SUSPENDED_BY, "")


def resume_patch(app: Obj) -> list[Obj]:
    """The JSON Patch that restores auto-sync as it was and takes our marks away; of one not ours any more only the marks.

    Raises ValueError where the mark that holds it as it was is not readable any more.
    """
    metadata, annotations = app["metadata"], views.annotations_of(app)
    ops: list[Obj] = [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
    ]
    if is_ours(app):
        ops += _restored(app, _before(annotations[AUTO_SYNC]))
    return ops + [{"op": "remove", "path": annotation_path(key)} for key in MARKS if key in annotations]


def _before(mark: str) -> Obj:
    try:
        found = json.loads(mark)
    except RecursionError:
        found = None
    if isinstance(found, dict):
        return found
    raise ValueError(f"{AUTO_SYNC} is no mapping")


def _restored(app: Obj, before: Obj) -> Iterable[Obj]:
    if _automated(app) is None:
        if app["spec"].get("syncPolicy") is None:
            yield {"op": "add", "path": "/spec/syncPolicy", "value": {}}
        yield {"op": "add", "path": _AUTOMATED, "value": before}
    elif "enabled" in before:
        yield {"op": "replace", "path": f"{_AUTOMATED}/enabled", "value": before["enabled"]}
    else:
        yield {"op": "remove", "path": f"{_AUTOMATED}/enabled"}


def resume_command(app: Obj) -> str:
    """What a person types to switch auto-sync on again, as it was."""
    metadata, automated = app["metadata"], _automated(app)
    again = '{"enabled":null}' if automated is not None else views.annotations_of(app).get(AUTO_SYNC) or "{}"
    patch = f'{{"spec":{{"syncPolicy":{{"automated":{again}}}}}}}'
    return (
        f"kubectl patch applications.argoproj.io {metadata['name']} --namespace {metadata['namespace']} "
        f"--type merge --patch '{patch}'"
    )


def _automated(app: Obj) -> Obj | None:
    found: Obj | None = ((app.get("spec") or {}).get("syncPolicy") or {}).get("automated")
    return found


def _owns_switch(app: Obj) -> bool:
    """A person who switches it on and off again owns the field then; the marks are still there."""
    entries = app["metadata"].get("managedFields") or ()
    found = [
        (entry.get("fieldsV1") or {}).get("f:spec") or {} for entry in entries if entry.get("manager") == FIELD_MANAGER
    ]
    return any("f:enabled" in ((each.get("f:syncPolicy") or {}).get("f:automated") or {}) for each in found)
