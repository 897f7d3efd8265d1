"""What goes wrong in the daemon, and who notices, when its role lacks a right. On any API server with an authorizer."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from config.settings import Settings
from daemon import assembly
from daemon.core.actions import Checked, CheckTarget, Outcome, OutcomeKind, RollBack, RolledBack
from daemon.core.events import Event
from daemon.ports import Runner
from daemon.runtime.telemetry import Metrics
from handlers.faults import Fault, Transient
from handlers.inbound.cluster import ClusterWatch
from handlers.kinds import KINDS, SERVICE, WATCHED
from handlers.kube import KubeClient
from handlers.rights import RIGHTS, TOOLS, Feature, Grant
from tests.handlers.rollback_world import WallClock, check_of, until

if TYPE_CHECKING:
    from handlers.reflector import ListWatch

Obj = dict[str, Any]
Triple = tuple[str, str, str]

FEATURES: dict[Triple, set[Feature]] = {
    each.triple: {right.feature for right in RIGHTS if right.triple == each.triple}
    for each in RIGHTS
    if each.grant not in (Grant.EVERYBODY, Grant.LEASE)
}
"""Verb, group and resource of each right that a role gives for what is done with workloads, and what needs it. Who leads
among several is a matter of its own (tests/packaging/test_lease_role.py).
"""


def _about(triple: Triple) -> str:
    if Feature.AROUND in FEATURES[triple]:
        return "ways"
    return "tools" if triple[1] in TOOLS else "kubernetes"


RUNS_MAX = 5
"""Of one rollback: a pod that is to be deleted may change at that moment."""

OF_KUBERNETES, OF_TOOLS, OF_WAYS = (
    [pytest.param(triple, id=f"{triple[0]}-{triple[2]}") for triple in FEATURES if _about(triple) == about]
    for about in ("kubernetes", "tools", "ways")
)
"""For `pytest.mark.parametrize`: each right of the list once, like `list-pods`; those to what other tools bring apart, and those
of the ways around a controller.
"""

EACH_RIGHT = [*OF_KUBERNETES, *OF_TOOLS, *OF_WAYS]


def without(objects: Iterable[Obj], triple: Triple) -> list[Obj]:
    """The same objects, their roles without this one right; all others stay. AssertionError where none held it."""
    verb, group, resource = triple
    found, taken = copy.deepcopy(list(objects)), False
    for role in (each for each in found if each["kind"] in ("Role", "ClusterRole")):
        rules = []
        for rule in role["rules"]:
            if group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]:
                taken = True
                others = [each for each in rule["resources"] if each != resource]
                left = [each for each in rule["verbs"] if each != verb]
                rules += [{**rule, "resources": others}] if others else []
                rules += [{**rule, "resources": [resource], "verbs": left}] if left else []
            else:
                rules.append(rule)
        role["rules"] = rules
    assert taken, f"no role may {verb} {resource}"
    return found


def expected(triple: Triple, found: Iterable[str], of: Collection[str] = frozenset(KINDS)) -> bool:
    """Whether what was noticed is what each feature that needs the right must notice, with workloads `of` these kinds."""
    noticed, resource = set(found), triple[2].partition("/")[0]
    kinds = [kind.name for kind in WATCHED if kind.name in of and resource in (kind.plural, kind.history.value)]
    if triple == ("list", "apps", "deployments") or resource == SERVICE.plural:
        kinds = [SERVICE.name] if SERVICE.name in of else []

    def each_kind(words: str) -> bool:
        return all(any(each.startswith(f"{words} {kind}") for each in noticed) for kind in kinds)

    rules: dict[Feature, Callable[[], bool]] = {
        Feature.WATCH: lambda: f"watch {resource}" in noticed,
        Feature.CHECK: lambda: any(each.startswith("check") for each in noticed) and each_kind("check"),
        Feature.SECRETS: lambda: any(": unchecked Secret" in each for each in noticed),
        Feature.ACT: lambda: bool(kinds) and each_kind("roll back"),
        Feature.FREE: lambda: "free" in noticed,
        Feature.SWITCH: lambda: bool(kinds) and each_kind("roll back"),
        Feature.AROUND: lambda: any(
            each.startswith("roll back ") and each.endswith(f" around {resource}") for each in noticed
        ),
    }
    return all(rules[feature]() for feature in FEATURES[triple])


class _Opened:
    """A client that tells which watches the server has agreed to."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self.list_pages = client.list_pages
        self.paths: set[str] = set()

    def watch(
        self, path: str, version: str, seconds: int, *, on_open: Callable[[], None] | None = None, **options: Any
    ) -> AsyncGenerator[Obj, None]:
        def opened() -> None:
            self.paths.add(path)
            if on_open is not None:
                on_open()

        return self._client.watch(path, version, seconds, on_open=opened, **options)


class _Nobody:
    def put(self, event: Event) -> None:
        """Views are of no interest."""


async def symptoms(client: KubeClient, actions: Sequence[RollBack]) -> set[str]:
    """Watch, check each target, roll back each; what failed: `watch pods`, `check StatefulSet`, `check Deployment: unchecked
    Secret x`, `roll back DaemonSet`, `roll back Deployment around applications`, and `free` where a pod that should be deleted
    was not.

    Nothing where the role holds all that is needed. The workloads of the actions are changed if they can be.
    """
    watch, faulted = await _watched(client)
    settings, clock, metrics = Settings(cluster="test"), WallClock(), Metrics()
    found = {f"watch {collection}" for collection in faulted}
    async with aiohttp.ClientSession() as session:
        outside = assembly.clients(settings, session, clock, metrics)
        runners = assembly.runners(settings, session, client, watch.cache, outside, clock, lambda: settings.policy)
        for action in actions:
            found |= await _checked(runners["check_target"], check_of(action))
            found |= await _acted(runners["roll_back"], action)
    return found


async def _watched(client: KubeClient) -> tuple[ClusterWatch, set[str]]:
    """The collections that could not be listed or watched, once each of them has been tried."""
    opened, faulted = _Opened(client), set[str]()
    watch = ClusterWatch(
        cast("ListWatch", opened),
        _Nobody(),
        WallClock(),
        on_fault=lambda collection, _: faulted.add(collection),
        flagger=True,
        gitops=True,
    )
    tasks = [asyncio.create_task(reflector.run()) for reflector in watch.reflectors.values()]
    try:
        await until(
            lambda: (
                {name for name, each in watch.reflectors.items() if each.path in opened.paths or each.absent} | faulted
            ),
            lambda settled: settled == set(watch.reflectors),
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return watch, faulted


async def _checked(runner: Runner[Any], check: CheckTarget) -> set[str]:
    about = f"check {check.workload.kind}"
    try:
        outcome = await runner.run(check)
    except Fault:
        return {about}
    assert isinstance(outcome.result, Checked)
    found = outcome.result.check
    may_not = set() if found.may_patch else {f"{about}: may not patch"}
    return {f"{about}: unchecked {name}" for name in found.unchecked} | may_not


async def _acted(runner: Runner[Any], action: RollBack) -> set[str]:
    failed = {f"roll back {action.workload.kind}{_around(action)}"}
    try:
        outcome = await _run(runner, action)
    except Fault:
        return failed
    if outcome.kind is not OutcomeKind.DONE:
        return failed
    assert isinstance(outcome.result, RolledBack)
    freed = any(warning.startswith("Deleted pod") for warning in outcome.result.warnings)
    return {"free"} if action.delete_stuck and not freed else set()


def _around(action: RollBack) -> str:
    """Which controller's objects were to be suspended, by their plural."""
    if action.owner is None:
        return ""
    plurals = {"Kustomization": "kustomizations", "HelmRelease": "helmreleases"}
    return f" around {plurals.get(action.owner.name.partition(' ')[0], 'applications')}"


async def _run(runner: Runner[Any], action: RollBack) -> Outcome:
    """As the daemon does: what is worth another run is run again."""
    for _ in range(RUNS_MAX - 1):
        with contextlib.suppress(Transient):
            return await runner.run(action)
    return await runner.run(action)
