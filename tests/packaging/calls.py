"""What the daemon asks of the Kubernetes API, recorded by the sandbox's API server, and who may ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from daemon import assembly
from daemon.core.actions import Outcome, OutcomeKind, RollBack
from daemon.core.events import Event
from daemon.core.policy import Policy
from daemon.ports import Runner
from deploy.sandbox.kube.errors import ApiError
from deploy.sandbox.kube.faults import RequestRecord
from deploy.sandbox.kube.paths import parse
from handlers import access_check
from handlers.faults import Permanent
from handlers.inbound.cluster import ClusterWatch
from handlers.outbound.targets import TargetChecker
from handlers.rights import RIGHTS
from tests.handlers.rollback_world import WallClock, check_of, until
from tests.packaging.every_kind import EveryKind

Obj = dict[str, Any]

WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Call(NamedTuple):
    """One right, as RBAC names it."""

    verb: str
    group: str
    resource: str


NO_RULE_NEEDED = Call("create", "authorization.k8s.io", "selfsubjectaccessreviews")
"""Every authenticated user may ask what it may do, and who it is (system:basic-user)."""

ONE_OBJECT = {right.triple for right in RIGHTS if right.for_one_object}
"""Verb, group and resource of what a role gives for one object only, by its name."""

REVIEWS = {
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
}


def call_of(record: RequestRecord) -> Call:
    """The right that a request needs. AssertionError for a path that names no resource."""
    if record.path in REVIEWS:
        return NO_RULE_NEEDED
    target = parse(record.path)
    assert target is not None, f"{record.method} {record.path}: names nothing that RBAC knows"
    reading = "watch" if record.is_watch else "get" if target.name else "list"
    verb = WRITES.get(record.method, reading)
    resource = "/".join(part for part in (target.resource.plural, target.subresource) if part)
    return Call(verb, target.resource.group, resource)


def granted(roles: Iterable[Obj]) -> set[Call]:
    """Every right in these roles; none of them may hold a wildcard or a path, and a name only where it is for one object."""
    found: set[Call] = set()
    for role in roles:
        for rule in role["rules"]:
            assert set(rule) - {"resourceNames"} == {"apiGroups", "resources", "verbs"}, rule
            held = {(v, g, r) for v in rule["verbs"] for g in rule["apiGroups"] for r in rule["resources"]}
            assert held.isdisjoint(ONE_OBJECT) if "resourceNames" not in rule else held <= ONE_OBJECT, rule
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}, rule
            found |= {Call(v, g, r) for v in rule["verbs"] for g in rule["apiGroups"] for r in rule["resources"]}
    return found


def authorizer(rights: set[Call]) -> Callable[[RequestRecord], None]:
    """What the API server's own authorizer does with these rights: 403 for everything else."""

    def check(record: RequestRecord) -> None:
        call = call_of(record)
        if call not in {*rights, NO_RULE_NEEDED}:
            what = f"{call.resource}.{call.group}" if call.group else call.resource
            raise ApiError(403, "Forbidden", f"{what} is forbidden: the service account cannot {call.verb} it")

    return check


class _Inbox:
    """Views go nowhere: only the requests are of interest."""

    def put(self, event: Event) -> None:
        """Drop it."""


async def _ran(rollback: Runner[RollBack], action: RollBack) -> Outcome:
    """As the daemon does it, and looked afterwards what became of it; what never will is failed."""
    try:
        outcome = await rollback.run(action)
        await rollback.probe(action)
    except Permanent as fault:
        return Outcome(kind=OutcomeKind.FAILED, message=fault.reason)
    return outcome


async def play(there: EveryKind) -> list[tuple[Outcome, Outcome]]:
    """Everything Lastgood does with the cluster: ask for its rights, watch, check targets, roll back, look what became of it.

    The outcomes of the check and of the rollback, for each of the actions.
    """
    await access_check.check(there.client, Policy(cluster="test"))
    watch = ClusterWatch(there.client, _Inbox(), WallClock(), flagger=True, gitops=True)
    tasks = [asyncio.create_task(run()) for run in watch.tasks().values()]
    try:
        async with asyncio.timeout(15):
            await watch.synced.wait()
        seen = there.cluster.faults.log
        await until(lambda: {r.path for r in seen if r.is_watch}, lambda paths: len(paths) == len(watch.reflectors))
        rollback = assembly.rollbacks(there.client, WallClock())
        outcomes = []
        for action in there.actions():
            checked = await TargetChecker(there.client).run(check_of(action))
            outcomes.append((checked, await _ran(rollback, action)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return outcomes
