"""The floor: what the shortest script does that undoes a rollout as soon as an alert comes. It asks nothing and proves nothing.

Run as `python undo_at_once.py URL CA_FILE TOKEN`; prints its port, and rolls `web` of an alert's namespace back once.
"""

import asyncio
import ssl
import sys

import aiohttp
from aiohttp import web

URL, CA, TOKEN = sys.argv[1:4]
REVISION = "deployment.kubernetes.io/revision"
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
done: set[str] = set()


def number(one: dict) -> int:  # type: ignore[type-arg]
    return int(one["metadata"]["annotations"][REVISION])


async def undo(session: aiohttp.ClientSession, namespace: str) -> None:
    async with session.get(f"/apis/apps/v1/namespaces/{namespace}/replicasets") as answer:
        before = sorted((await answer.json())["items"], key=number)[-2]
    del before["spec"]["template"]["metadata"]["labels"]["pod-template-hash"]
    ops = [{"op": "replace", "path": "/spec/template", "value": before["spec"]["template"]}]
    where = f"/apis/apps/v1/namespaces/{namespace}/deployments/web?fieldManager=undo-at-once"
    async with session.patch(where, json=ops, headers=JSON_PATCH) as answer:
        answer.raise_for_status()


async def main() -> None:
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=CA))
    session = aiohttp.ClientSession(URL, connector=connector, headers={"Authorization": f"Bearer {TOKEN}"})

    async def alerted(request: web.Request) -> web.Response:
        namespace = (await request.json())["groupLabels"]["namespace"]
        if namespace not in done:
            done.add(namespace)
            await undo(session, namespace)
        return web.Response()

    app = web.Application()
    app.router.add_post("/api/v1/alertmanager", alerted)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201  it is a program
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
