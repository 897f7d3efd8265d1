"""A Deployment on a real control plane that went from v1 to v2, our client, and the programs that deploy."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from daemon.core.actions import CheckTarget, RollBack
from daemon.core.model import ActionId, IncidentId, Revision, Workload
from handlers import revisions, workload_objects
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from tests import parts
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, path, until_available, workload

PROGRAM_SECONDS = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """The Deployment `web` in a namespace of its own; `first` and `second` are the revisions it went through."""

    plane: ControlPlane
    namespace: str
    client: KubeClient
    uid: str
    first: Revision
    second: Revision

    @property
    def workload(self) -> Workload:
        """As the core names it."""
        return Workload(namespace=self.namespace, kind="Deployment", name="web")

    def action(self) -> RollBack:
        """From the second revision back to the first."""
        return RollBack(
            id=ActionId("inc-1/roll_back"),
            deadline=datetime.now(UTC) + timedelta(minutes=5),
            incident=IncidentId("inc-1"),
            workload=self.workload,
            uid=self.uid,
            blamed=self.second,
            target=self.first,
            why="a test",
        )

    def check(self) -> CheckTarget:
        """Whether that could be done."""
        action = self.action()
        return CheckTarget(
            id=ActionId("inc-1/check/1"),
            deadline=action.deadline,
            incident=action.incident,
            attempt=1,
            workload=action.workload,
            uid=action.uid,
            blamed=action.blamed,
            target=action.target,
        )

    def web(self) -> Json:
        """The object as it is now."""
        return seen(self.plane, self.namespace)

    def other(self, user: str) -> KubeClient:
        """A client with another user's token."""
        return client_of(self.plane, user)


class Between:
    """A client that lets the world do something right before one of its patches is sent."""

    def __init__(self, client: KubeClient, act: Callable[[], object], *, dry_run: bool) -> None:
        self._client, self._act, self._dry_run = client, act, dry_run
        self._done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def patch_json(self, where: str, ops: Sequence[Json], **options: Any) -> Json:
        """The same patch, after the act."""
        if not self._done and bool(options.get("dry_run")) is self._dry_run:
            self._done = True
            await asyncio.to_thread(self._act)
        return await self._client.patch_json(where, ops, **options)


def client_of(plane: ControlPlane, user: str = "admin") -> KubeClient:
    """Our own client, with the user's token."""
    return KubeClient(from_url(plane.url, token=plane.token(user), ca_file=plane.ca))


def seen(plane: ControlPlane, namespace: str) -> Json:
    """The Deployment `web` of the namespace."""
    status, answer = plane.ask("GET", path(namespace, "deployments", "web"))
    assert status == 200, answer
    return answer


def image(obj: Json) -> str:
    """The image of its only container."""
    (container,) = obj["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


def environment(obj: Json) -> list[str]:
    """The names of the variables of its only container."""
    (container,) = obj["spec"]["template"]["spec"]["containers"]
    return [one["name"] for one in container.get("env", [])]


def patch(plane: ControlPlane, namespace: str, ops: Sequence[Json], manager: str = "kubectl-set") -> Json:
    """A JSON Patch of the Deployment `web` by somebody else."""
    where = f"{path(namespace, 'deployments', 'web')}?fieldManager={manager}"
    status, answer = plane.ask("PATCH", where, ops, kind="application/json-patch+json")
    assert status == 200, answer
    return answer


def set_image(plane: ControlPlane, namespace: str, to: str) -> Json:
    """A rollout, as a pipeline starts it."""
    where = "/spec/template/spec/containers/0/image"
    return patch(plane, namespace, [{"op": "replace", "path": where, "value": to}])


def deployment(tag: str, *variables: str) -> Json:
    """The manifest of `web` with this version; each variable's value is its name."""
    body = workload("Deployment", "web", f"shop:{tag}")
    (container,) = body["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": name, "value": name} for name in variables]
    return body


@asynccontextmanager
async def rolled_out(plane: ControlPlane, namespace: str, *steps: Callable[[], object]) -> AsyncIterator[Rollout]:
    """After two steps that each roll out a version of `web`; without any, v1 and v2 by a pipeline."""
    default: tuple[Callable[[], object], ...] = (
        lambda: plane.ask("POST", path(namespace, "deployments"), deployment("v1")),
        lambda: set_image(plane, namespace, "shop:v2"),
    )
    found: list[Revision] = []
    for step in steps or default:
        await asyncio.to_thread(step)
        obj = await asyncio.to_thread(until_available, plane, namespace, "web", 1)
        found.append(revisions.revision_of({**obj, "kind": "Deployment"}))
    first, second = found
    async with client_of(plane) as client:
        fresh = await workload_objects.read(client, Workload(namespace=namespace, kind="Deployment", name="web"))
        assert fresh is not None
        yield Rollout(
            plane=plane, namespace=namespace, client=client, uid=fresh.uid, first=first, second=second
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Programs:
    """kubectl and helm, as the admin, in one namespace; `folder` holds manifests, charts and helm's own files."""

    plane: ControlPlane
    namespace: str
    folder: Path

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A command line that begins with the program's name; the caller looks at the exit code."""
        program, *arguments = map(str, words)
        config = f"--kubeconfig={self.plane.kubeconfig(namespace=self.namespace)}"
        homes = {f"HELM_{name}_HOME": str(self.folder / f"helm-{name.lower()}") for name in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [parts.require(program), *arguments, config], env={**os.environ, **homes},
            capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS,
        )  # fmt: skip

    def does(self, *words: str | Path) -> str:
        """A command line that must succeed; what it printed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def file(self, body: Json) -> Path:
        """A manifest as a file."""
        written = self.folder / "manifest.json"
        written.write_text(json.dumps(body))
        return written
