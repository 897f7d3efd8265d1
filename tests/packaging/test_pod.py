"""The pod as the chart describes it, run here: its command, variables, settings file and mounts, under the chart's role."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from deploy.sandbox.kube import SandboxCluster
from tests.handlers.rollback_world import FAST, manifest
from tests.packaging.calls import authorizer, granted
from tests.packaging.chart import TOKEN, Obj, one, render, settings_of
from tests.packaging.dockerfile import environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]

LASTGOOD = str(Path(sys.executable).parent / "lastgood")
READY_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that runs: the variables of its container, where it listens, and its process."""

    env: dict[str, str]
    url: str
    process: asyncio.subprocess.Process

    async def exec(self, *words: str) -> tuple[int, str]:
        """What `kubectl exec` does: another process with the container's variables. Exit code and output."""
        made = await asyncio.create_subprocess_exec(
            *words, env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await made.communicate()
        return made.returncode or 0, out.decode()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def container_of(objects: list[Obj]) -> Obj:
    """The container of the Deployment."""
    found: Obj = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


@asynccontextmanager
async def running(objects: list[Obj], cluster: SandboxCluster, folder: Path) -> AsyncIterator[Pod]:
    """Starts the container's command with its mounts below `folder`; the API server and the port are ours."""
    container = container_of(objects)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    text = settings_of(objects)
    for name in ("secrets", "state", "config"):
        (folder / name).mkdir()
        text = re.sub(rf"(?<= ){re.escape(mounts[name])}\b(?!-)", str(folder / name), text)
    (folder / "secrets" / TOKEN).write_text("a-token\n", encoding="utf-8")
    (folder / "config/lastgood.yaml").write_text(text, encoding="utf-8")
    env = {each["name"]: each.get("value", "ops").replace("$(POD_NAMESPACE)", "ops") for each in container["env"]}
    port = free_port()
    env |= {
        "LASTGOOD_CONFIG": str(folder / "config/lastgood.yaml"),
        "LASTGOOD_KUBERNETES__URL": cluster.url,
        "LASTGOOD_SERVER__LISTEN": f"127.0.0.1:{port}",
        "PATH": f"{Path(LASTGOOD).parent}:/usr/bin:/bin",
    }
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            LASTGOOD, *container["args"], env=environment(env), stdout=log, stderr=log
        )
    try:
        yield Pod(env=environment(env), url=f"http://127.0.0.1:{port}", process=process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def status(url: str, path: str) -> int:
    """The HTTP status of a probe; 0 while nobody listens."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url + path) as response:
            return response.status
    except aiohttp.ClientError:
        return 0


async def test_the_pod_becomes_ready_under_the_observe_role_and_ends_in_its_grace(tmp_path: Path) -> None:
    """With the shipped role enforced and no Prometheus to be reached: healthy, ready, takes alerts with the Secret's
    token only, answers `lastgood status` inside, and SIGTERM ends it with 0 within terminationGracePeriodSeconds.
    """
    objects = render("config.prometheus.url=http://127.0.0.1:9")
    probes = {name: container_of(objects)[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")}
    async with SandboxCluster(timing=FAST, network=46) as cluster:
        cluster.create(manifest("shop:v1"), manager="kubectl")
        cluster.faults.on_request = authorizer(granted(each for each in objects if each["kind"] == "ClusterRole"))
        async with running(objects, cluster, tmp_path) as pod:
            ends = time.monotonic() + READY_SECONDS_MAX
            while await status(pod.url, probes["readiness"]) != 200:
                alive = pod.process.returncode is None and time.monotonic() < ends
                assert alive, (tmp_path / "log").read_text()
                await asyncio.sleep(0.1)
            assert await status(pod.url, probes["liveness"]) == 200
            code, out = await pod.exec("lastgood", "status")
            assert code == 0, out
            assert await webhook(pod.url, "a-token") == 200
            assert await webhook(pod.url, "another") == 401
            grace = one(objects, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            pod.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(grace):
                assert await pod.process.wait() == 0
    refused = [record for record in cluster.faults.log if record.status == 403]
    assert refused == []


async def webhook(url: str, token: str) -> int:
    """The status of an empty group of alerts."""
    body: Obj = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "lastgood", "alerts": []}
    body |= {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "truncatedAlerts": 0}
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/api/v1/alertmanager", json=body) as response,
    ):
        return response.status
