"""Rolls a workload back: reads it fresh, checks each precondition, tries the patch, sends it, can tell afterwards.

What the target's check has read and tried at the same moment is sent without doing so again (handlers.just_checked).

Idempotent by construction. The action's id goes onto the object in the same patch as the template, and the patch
tests the template it replaces. So a second run, after a crash or an answer that was lost, finds either the id (done)
or the blamed template still there (it did not happen); whatever else it finds is a newer rollout, which wins.

What the id on objects proves, in this order (`_evidence`):

1. On the workload: our patch was applied; nobody else writes that annotation with this value. If the template is
   the target's, it still stands; if not, a newer rollout has replaced it.
2. On the target's ReplicaSet: the controller copies a Deployment's annotations to the ReplicaSet that is current, so
   the target was current while the Deployment carried our id. This survives `kubectl rollout undo`, which replaces
   the Deployment's annotations. (It leaves those of StatefulSets and DaemonSets, whose ControllerRevisions take none.)
3. Neither: it did not happen. A request that is still under way on the server may land later; then the guard of the
   next attempt fails and finds 1.

A rollback that happened and was replaced since is still DONE, with a warning: it counts for quarantine and budget, and
the workload's next view ends the incident as superseded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from daemon.core.actions import Outcome, OutcomeKind, RollBack
from daemon.ports import Clock
from handlers import rollback_steps, views, workload_objects
from handlers.faults import FaultKind, Permanent, Transient
from handlers.just_checked import JustChecked
from handlers.kinds import SERVICE
from handlers.kube_json import Obj
from handlers.outbound.rollback import gitops_drift, outcomes
from handlers.outbound.rollback.handing_back import handed_back
from handlers.outbound.rollback.switched import LAST_APPLIED, switch_warnings
from handlers.ownership import GITOPS_MANAGERS, helm_release, owner_of
from handlers.rollback_steps import NoWay, Step
from handlers.workload_objects import Api, Fresh


class TemplateRollback:
    """Carries out RollBack where one guarded patch is all it takes: of a template, or of a blue/green Service's selector.

    `clock` dates what managedFields do not. What the target's check has read just now (`checked`) is not read and tried again.
    `forbids` says what speaks against it in the moment before it is written, None where nothing does: the reading before may
    have taken a minute, in which somebody paused.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        checked: JustChecked | None = None,
        *,
        forbids: Callable[[RollBack], str | None] = lambda action: None,
    ) -> None:
        self._api = api
        self._clock = clock
        self._checked = checked or JustChecked()
        self._forbids = forbids

    async def run(self, action: RollBack) -> Outcome:
        """Roll back, unless a precondition does not hold (REFUSED) or the server rejects the template (FAILED).

        Raises Transient where it is worth another run: the world could not be read, nothing was written, or an answer
        was lost and the object, asked at once, does not (or not yet) show our patch. A further run finds out.
        """
        return await handed_back(self._api, action, await self._rolled_back(action))

    async def probe(self, action: RollBack) -> Outcome | None:
        """What became of it: DONE, Superseded, REFUSED (it cannot happen any more) or None (it did not happen)."""
        fresh = await workload_objects.read(self._api, action.workload)
        settled = self._settled(action, fresh)
        return None if settled is None else await handed_back(self._api, action, settled)

    async def _rolled_back(self, action: RollBack) -> Outcome:
        known = self._checked.take(action)
        at_once = None if known is None else await self._at_once(action, known)
        return at_once or await self._after_reading(action)

    async def _at_once(self, action: RollBack, known: Fresh) -> Outcome | None:
        """What has just been tried, sent as long as it is true; None where it is not, and nothing was written."""
        step = self._left(action, known)
        if isinstance(step, Outcome) or not known.generation:
            return None
        if (why := self._forbids(action)) is not None:
            return outcomes.refused(why)
        unchanged = {"op": "test", "path": "/metadata/generation", "value": known.generation}
        try:
            return self._done(await self._patch(replace(step, ops=[unchanged, *step.ops]), dry_run=False))
        except Permanent:
            return None
        except Transient as fault:
            return await self._lost(action, fault)

    async def _after_reading(self, action: RollBack) -> Outcome:
        fresh = await workload_objects.read(self._api, action.workload, (action.blamed, action.target))
        step = self._left(action, fresh)
        if isinstance(step, Outcome):
            return step
        try:
            await self._patch(step, dry_run=True)
        except Permanent as fault:
            return await self._rejected(action, step, fault, "the dry run")
        if (why := self._forbids(action)) is not None:
            return outcomes.refused(why)
        try:
            patched = await self._patch(step, dry_run=False)
        except Permanent as fault:
            return await self._rejected(action, step, fault, step.what)
        except Transient as fault:
            return await self._lost(action, fault)
        return self._done(patched)

    def _left(self, action: RollBack, fresh: Fresh | None) -> Step | Outcome:
        """What is left to send, or the outcome where there is nothing."""
        settled = self._settled(action, fresh)
        if settled is not None:
            return settled
        assert fresh is not None, "an absent workload is settled above"
        target = fresh.find(action.target.id)
        if target is None:
            return outcomes.refused(f"{action.target.label} is no longer in the history of {action.workload.short}")
        left = rollback_steps.steps(action.workload, fresh, target, outcomes.provenance(action))
        if isinstance(left, NoWay):
            return outcomes.refused(left.why)
        (step,) = left
        return step

    def _settled(self, action: RollBack, fresh: Fresh | None) -> Outcome | None:
        """The outcome that the world already shows, None where the blamed revision is current and may be replaced."""
        if fresh is None:
            return outcomes.refused(f"{action.workload.short} is gone")
        if fresh.uid != action.uid:
            return outcomes.refused(
                f"{action.workload.short} was deleted and made anew: another object than the one judged"
            )
        evidence = self._evidence(action, fresh)
        if evidence is not None:
            return evidence
        if fresh.is_leaving:
            return outcomes.refused(f"{action.workload.short} is being deleted")
        if not fresh.is_told:
            return outcomes.refused(f"{action.workload.short} selects no Deployment, or several")
        if fresh.current != action.blamed.id:
            return outcomes.superseded(fresh)
        if fresh.is_paused:
            return outcomes.refused(f"{action.workload.short} is paused: `kubectl rollout resume` it first")
        return None

    def _evidence(self, action: RollBack, fresh: Fresh) -> Outcome | None:
        """That it happened, as the id on the objects proves; None without proof."""
        on_object = views.annotations_of(fresh.workload).get(views.ACTION) == action.id
        target = fresh.find(action.target.id)
        in_history = target is not None and views.annotations_of(dict(target)).get(views.ACTION) == action.id
        if not on_object and not in_history:
            return None
        stands = fresh.current == action.target.id
        more = () if stands else (outcomes.REPLACED,)
        return self._done(fresh.workload, more=more)

    async def _patch(self, step: Step, *, dry_run: bool) -> Obj:
        manager = workload_objects.FIELD_MANAGER
        return await self._api.patch_json(step.path, step.ops, dry_run=dry_run, field_manager=manager)

    async def _rejected(self, action: RollBack, step: Step, fault: Permanent, what: str) -> Outcome:
        """A `test` that failed and an object that is not valid are both 422: what is there now tells them apart."""
        if fault.kind is FaultKind.NOT_FOUND:
            return outcomes.refused(f"{action.workload.short} is gone")
        if fault.kind not in (FaultKind.INVALID, FaultKind.CONFLICT):
            return Outcome(kind=OutcomeKind.FAILED, message=f"{what} was refused: {outcomes.told(fault)}")
        now = await workload_objects.read(self._api, action.workload)
        settled = self._settled(action, now)
        if settled is not None:
            return settled
        if fault.kind is FaultKind.CONFLICT or (now is not None and rollback_steps.would_fail(step, now.workload)):
            # Somebody wrote at the same time, but no rollout. Nothing was written, and a new run reads everything anew.
            raise Transient(None, fault.reason, FaultKind.CONFLICT, status=fault.status, code=fault.code)
        return Outcome(kind=OutcomeKind.FAILED, message=f"the API server rejects {what}: {outcomes.told(fault)}")

    async def _lost(self, action: RollBack, fault: Transient) -> Outcome:
        """The patch was sent and no answer came: look, before anything is sent again."""
        try:
            found = await self.probe(action)
        except Permanent:
            found = None  # we could write a moment ago: that reading is forbidden now is no answer
        if found is None:
            raise fault
        return found

    def _done(self, workload: Obj, *, more: tuple[str, ...] = ()) -> Outcome:
        left = switch_warnings(workload) if workload.get("kind") == SERVICE.name else drift_warnings(workload)
        return outcomes.done(workload, self._clock, (*more, *left), "; ".join(more))


def drift_warnings(workload: Obj) -> tuple[str, ...]:
    """Who still believes in the bad revision, and the command that makes the rollback permanent.

    What each sentence says is tried out on real API servers, with kubectl and Helm (tests/controlplane/test_after_a_rollback.py).
    """
    metadata = workload["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    owner = owner_of(workload)
    gitops = gitops_drift.warnings(owner)
    warnings, release = list(gitops), None if gitops else helm_release(workload)
    if release is not None:
        in_namespace, _, called = release.partition("/")
        warnings.append(
            f"Helm still records the bad revision of release {called}, and its next upgrade brings it back. "
            f"`helm rollback {called} --namespace {in_namespace}` makes the rollback permanent and starts no rollout; it goes "
            f"to the release before the last: add another's number from `helm history {called} --namespace {in_namespace}`."
        )
    if LAST_APPLIED in (metadata.get("annotations") or {}) and not gitops:
        warnings.append(
            f"The last-applied-configuration of {namespace}/{name} still describes the bad revision: the next `kubectl apply` "
            f"leaves behind what only the good one has. `kubectl apply --namespace {namespace} -f FILE` with the good manifest "
            f"makes the rollback permanent and starts no rollout."
        )
    told = {"helm"} if release else set(GITOPS_MANAGERS) if gitops else set()
    appliers = sorted({str(entry.get("manager")) for entry in _appliers(workload)} - told)
    if appliers:
        warnings.append(
            f"{', '.join(appliers)} applied the template on the server side, and the next apply leaves behind what only the good "
            f"revision has. `kubectl apply --server-side --field-manager={appliers[0]} --namespace {namespace} -f FILE` with the "
            f"good manifest makes the rollback permanent and starts no rollout."
        )
    return tuple(warnings)


def _appliers(workload: Obj) -> list[Obj]:
    entries = workload["metadata"].get("managedFields") or ()
    return [
        entry
        for entry in entries
        if entry.get("operation") == "Apply" and "f:template" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
