"""Captures what Alertmanager sends and answers, for `tests/golden/alertmanager`.

`python -m deploy.sandbox.monitoring.capture FOLDER` writes the files anew from the real Alertmanager on PATH. The
same steps run against the stand-in in a contract test, and its bodies must be the same but for times, ports and ids.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from deploy.sandbox.monitoring.labels import Matcher
from deploy.sandbox.monitoring.real import ALERTMANAGER_NAMES, Server, installed, run_alertmanager
from deploy.sandbox.monitoring.rules import InhibitRule, Routing
from deploy.sandbox.monitoring.standin import run_standin
from deploy.sandbox.monitoring.start import Kind
from deploy.sandbox.monitoring.wire import format_time
from deploy.sandbox.services import serve_loopback

ARRIVAL_SECONDS_MAX = 15.0
"""A webhook arrives within a second on an idle machine."""

TOKEN = "captured"


class Hook:
    """A receiver that keeps bodies, arrival times and headers; answers with the statuses in `answers`, then 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self._arrived = asyncio.Event()

    async def serve(self, request: web.Request) -> web.Response:
        """The handler of `POST /hook`."""
        self.bodies.append(await request.read())
        self.times.append(asyncio.get_running_loop().time())
        self.headers.append(dict(request.headers))
        self._arrived.set()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def wait(self, count: int) -> bytes:
        """The `count`-th body, counted from 1. Raises TimeoutError when it does not come."""
        async with asyncio.timeout(ARRIVAL_SECONDS_MAX):
            while len(self.bodies) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.bodies[count - 1]


class Lone:
    """An Alertmanager without a Prometheus, and the receiver of its webhooks."""

    def __init__(self, url: str, hook: Hook, session: aiohttp.ClientSession, server: Server | None) -> None:
        self.url = url
        self.hook = hook
        self.server = server
        self._session = session

    async def post(self, *alerts: dict[str, Any]) -> None:
        """Send alerts as Prometheus does."""
        async with self._session.post(f"{self.url}/api/v2/alerts", json=alerts) as reply:
            reply.raise_for_status()

    async def silence(self, name: str, value: str) -> str:
        """Silence what carries this label for a minute; returns the silence's id."""
        body = {
            "matchers": [{"name": name, "value": value, "isRegex": False, "isEqual": True}],
            "startsAt": format_time(time.time()),
            "endsAt": format_time(time.time() + 60),
            "createdBy": "capture",
            "comment": "maintenance",
        }
        async with self._session.post(f"{self.url}/api/v2/silences", json=body) as reply:
            reply.raise_for_status()
            return str((await reply.json())["silenceID"])

    async def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> tuple[int, bytes]:
        """Status and body of a GET."""
        async with self._session.get(f"{self.url}{path}", params=list(query)) as reply:
            return reply.status, await reply.read()


@asynccontextmanager
async def lone_alertmanager(kind: Kind, folder: Path, routing: Routing) -> AsyncIterator[Lone]:
    """Run Alertmanager, or its stand-in, with a receiver. `folder` takes the real one's files."""
    hook = Hook()
    app = web.Application()
    app.router.add_post("/hook", hook.serve)
    async with serve_loopback(app) as url, aiohttp.ClientSession(trust_env=False) as session:
        if kind == "real":
            program = installed(ALERTMANAGER_NAMES)
            if program is None:
                raise FileNotFoundError("no Alertmanager on PATH")
            running = run_alertmanager(
                program=program, workdir=folder, routing=routing, webhook_url=f"{url}/hook", webhook_token=TOKEN
            )
            async with running as server:
                yield Lone(server.url, hook, session, server)
            return
        standin = run_standin(
            sd_url=f"{url}/none",
            webhook_url=f"{url}/hook",
            webhook_token=TOKEN,
            scrape_seconds=60,
            evaluation_seconds=60,
            resend_seconds=60,
            rules=(),
            routing=routing,
        )
        async with standin as (_, alertmanager_url):
            yield Lone(alertmanager_url, hook, session, None)


def alert(app: str, *, began: float, ended: float | None = None, ratio: str = "0.31", **labels: str) -> dict[str, Any]:
    """An alert as Prometheus posts it; `began` and `ended` are seconds since the epoch."""
    named = {"alertname": "HighErrorRate", "app": app, "deployment": app, "namespace": "shop", "severity": "critical"}
    return {
        "labels": {**named, **labels},
        "annotations": {"summary": f"shop/{app} fails {ratio} of its requests"},
        "startsAt": format_time(began),
        "endsAt": format_time(time.time() + 240 if ended is None else ended),
        "generatorURL": "http://127.0.0.1:9090/graph?g0.expr=up&g0.tab=1",
    }


async def capture(kind: Kind, folder: Path) -> dict[str, bytes]:
    """All captures by name, each the raw body; those around a restart only from the real one."""
    captures: dict[str, bytes] = {}
    for number, step in enumerate((_life, _group, _truncated, _quoted, _states, _resent)):
        if kind == "real" or step is not _resent:
            captures |= await step(kind, folder / str(number))
    return captures


async def _life(kind: Kind, folder: Path) -> dict[str, bytes]:
    async with lone_alertmanager(kind, folder, Routing()) as lone:
        began = time.time() - 1
        await lone.post(alert("web", began=began))
        firing = await lone.hook.wait(1)
        await lone.post(alert("web", began=began, ended=time.time()))
        return {"firing": firing, "resolved": await lone.hook.wait(2)}


async def _group(kind: Kind, folder: Path) -> dict[str, bytes]:
    async with lone_alertmanager(kind, folder, Routing(group_wait_seconds=0.5)) as lone:
        began = time.time()
        await lone.post(*(alert(app, began=began) for app in ("web", "api", "cart")))
        grouped = await lone.hook.wait(1)
        await lone.post(alert("api", began=began, ended=time.time()))
        return {"grouped": grouped, "one_of_group_resolved": await lone.hook.wait(2)}


async def _truncated(kind: Kind, folder: Path) -> dict[str, bytes]:
    async with lone_alertmanager(kind, folder, Routing(group_wait_seconds=0.5, max_alerts=2)) as lone:
        began = time.time()
        await lone.post(*(alert(app, began=began) for app in ("web", "api", "cart", "mail")))
        return {"truncated": await lone.hook.wait(1)}


async def _quoted(kind: Kind, folder: Path) -> dict[str, bytes]:
    routing = Routing(receiver="team.prod/last+good", group_by=("alertname",))
    async with lone_alertmanager(kind, folder, routing) as lone:
        await lone.post(alert("web", began=time.time() - 1, note='say "hi" \\ <b>&\n'))
        return {"receiver_quoted": await lone.hook.wait(1)}


async def _states(kind: Kind, folder: Path) -> dict[str, bytes]:
    critical, warning = Matcher("severity", "=", "critical"), Matcher("severity", "=", "warning")
    inhibit = InhibitRule(source=(critical,), target=(warning,), equal=("app",))
    async with lone_alertmanager(kind, folder, Routing(inhibit_rules=(inhibit,))) as lone:
        began = time.time() - 1
        await lone.silence("app", "cart")
        await lone.post(alert("web", began=began), alert("cart", began=began))
        await lone.hook.wait(1)
        await lone.post(alert("web", began=began, severity="warning"))
        return {"api_alerts": (await lone.get("/api/v2/alerts"))[1]}


async def _resent(kind: Kind, folder: Path) -> dict[str, bytes]:
    async with lone_alertmanager(kind, folder, Routing()) as lone:
        assert lone.server is not None, "only the real one can be killed"
        began = time.time() - 1
        await lone.post(alert("web", began=began))
        first = await lone.hook.wait(1)
        await lone.server.kill()
        await lone.server.start()
        await lone.post(alert("web", began=began, ratio="0.34"))
        return {"resent_first": first, "resent_after_restart": await lone.hook.wait(2)}


def main(folder: str) -> None:
    """Write all captures of the real Alertmanager to a folder."""
    with tempfile.TemporaryDirectory() as work:
        for name, body in asyncio.run(capture("real", Path(work))).items():
            (Path(folder) / f"{name}.json").write_bytes(body)


if __name__ == "__main__":
    main(sys.argv[1])
