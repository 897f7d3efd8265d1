"""Rolls a StatefulSet back: the guarded patch of its template, then frees it from pods that keep it from going on.

A set with the pod management policy OrderedReady goes on only when each of its pods is ready, also while it is given a better
template: a pod that cannot start stays for ever (kubernetes#67250; "Forced rollback" in the documentation of StatefulSets).
Deleting that pod is the way out. It is done where the policy allows it (`delete_stuck_pods`), and only to pods that run the
blamed revision and are not ready at that moment; else the command is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from daemon.core.actions import Outcome, OutcomeKind, RollBack, RolledBack
from daemon.core.model import Exchange
from daemon.ports import Clock
from handlers import workload_objects
from handlers.cluster_stores import REVISION_LABEL
from handlers.faults import FaultKind, Permanent, Transient
from handlers.kinds import standing_of
from handlers.kube import resource_path
from handlers.kube_json import Obj
from handlers.outbound.rollback.template import TemplateRollback
from handlers.pods import is_ready
from handlers.revisions import controller_uid
from handlers.workload_objects import Api


class PodApi(Api, Protocol):
    """What is needed of a client beside what every rollback needs."""

    async def delete(
        self, path: str, *, uid: str | None = None, resource_version: str | None = None, dry_run: bool = False
    ) -> Obj:
        """Delete the object if it is still that very one, in that very version."""
        ...


class StatefulSetRollback:
    """Carries out RollBack for StatefulSets; a run that was cut after the patch goes on with the pods.

    `forbids` says what speaks against it in the moment before the template is written, None where nothing does.
    """

    def __init__(
        self, api: PodApi, clock: Clock, *, forbids: Callable[[RollBack], str | None] = lambda action: None
    ) -> None:
        self._api = api
        self._template = TemplateRollback(api, clock, forbids=forbids)

    async def run(self, action: RollBack) -> Outcome:
        """Put the template back, then free the set. Raises Transient where it is worth another run."""
        outcome = await self._template.run(action)
        if outcome.kind is not OutcomeKind.DONE or not isinstance(outcome.result, RolledBack):
            return outcome
        told = tuple([await self._free(action, pod) for pod in await self._stuck(action)])
        return replace(outcome, result=replace(outcome.result, warnings=(*told, *outcome.result.warnings)))

    async def probe(self, action: RollBack) -> Outcome | None:
        """What became of it; None also where the template is back and a pod still has to be deleted."""
        outcome = await self._template.probe(action)
        done = outcome is not None and outcome.kind is OutcomeKind.DONE
        return None if done and action.delete_stuck and await self._stuck(action) else outcome

    async def _stuck(self, action: RollBack) -> list[Obj]:
        """The pods of the blamed revision that are not ready and block the exchange."""
        fresh = await workload_objects.read(self._api, action.workload)
        kept = None if fresh is None else fresh.find(action.blamed.id)
        if fresh is None or kept is None or fresh.current != action.target.id:
            return []
        if standing_of(fresh.workload).exchange is not Exchange.ORDERED:
            return []
        path = resource_path("v1", "pods", namespace=action.workload.namespace)
        found: list[Obj] = []
        async for page in self._api.list_pages(path, label_selector=f"{REVISION_LABEL}={kept['metadata']['name']}"):
            if page.first:
                found.clear()
            found.extend(page.items)
        return [pod for pod in found if controller_uid(pod) == fresh.uid and _is_stuck(pod)]

    async def _free(self, action: RollBack, pod: Obj) -> str:
        """Delete the pod where the action allows it; a sentence for people either way."""
        metadata = pod["metadata"]
        name, namespace = metadata["name"], action.workload.namespace
        by_hand = f"The StatefulSet waits for {name}, which is not ready: `kubectl -n {namespace} delete pod {name}`"
        if not action.delete_stuck:
            return by_hand
        path = resource_path("v1", "pods", namespace=namespace, name=name)
        try:
            # Only what was read is deleted: a pod that has become ready since has another version.
            await self._api.delete(path, uid=metadata["uid"], resource_version=metadata["resourceVersion"])
        except Permanent as fault:
            if fault.kind is FaultKind.NOT_FOUND:
                return f"Pod {name} is gone by itself."
            if fault.kind is FaultKind.CONFLICT:  # it restarts all the time, or it is ready by now: look again
                raise Transient(None, fault.reason, fault.kind, status=fault.status, code=fault.code) from fault
            return f"{by_hand} (Lastgood may not: {fault.reason})"
        return f"Deleted pod {name}, which was not ready and kept the StatefulSet from going on."


def _is_stuck(pod: Obj) -> bool:
    return not is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
