"""An API server of one big quiet cluster: lists in pages, watches that only send bookmarks. Its objects are written once.

Run as `python cluster_server.py DEPLOYMENTS PODS_EACH`; prints its port and the bytes of JSON that it lists.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

CREATED = "2026-03-01T12:00:00Z"
BOOKMARK_SECONDS = 5.0
Json = dict[str, Any]


def meta(kind: str, name: str, number: int, **more: Any) -> Json:
    """Metadata with the managed fields that every real object drags along (1.5 KB)."""
    fields: Json = {f"f:{field}": {"f:name": {}, "f:value": {}, ".": {}} for field in map(str, range(28))}
    return {
        "name": name, "namespace": "shop", "uid": f"{kind}-{number}", "resourceVersion": str(1000 + number),
        "generation": 1, "creationTimestamp": CREATED, "labels": {"app": f"d{number}", "team": "shop", "tier": "backend"},
        "annotations": {"deployment.kubernetes.io/revision": "1", "note": "n" * 120},
        "managedFields": [{
            "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1", "time": CREATED,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields},
        }],
        **more,
    }  # fmt: skip


def template(number: int) -> Json:
    """A pod template of one container with a dozen settings."""
    env = [{"name": f"SETTING_{index}", "value": f"value-{index}-" + "v" * 20} for index in range(12)]
    container = {
        "name": "main",
        "image": f"registry.example/d{number}:v1",
        "env": env,
        "ports": [{"containerPort": 80}],
    }
    return {"metadata": {"labels": {"app": f"d{number}"}}, "spec": {"containers": [container]}}


def collections(deployments: int, pods: int) -> dict[str, list[Json]]:
    """Everything there is, by path."""
    found: dict[str, list[Json]] = {"deployments": [], "replicasets": [], "pods": []}
    for number in range(deployments):
        selector = {"matchLabels": {"app": f"d{number}"}}
        status = {"observedGeneration": 1, "replicas": pods, "readyReplicas": pods, "availableReplicas": pods}
        found["deployments"].append({
            "metadata": meta("d", f"d{number}", number),
            "spec": {"replicas": pods, "selector": selector, "template": template(number)},
            "status": {**status, "updatedReplicas": pods},
        })  # fmt: skip
        owner = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": f"d{number}",
            "uid": f"d-{number}",
            "controller": True,
        }
        whole = template(number)
        whole["metadata"]["labels"] = {"app": f"d{number}", "pod-template-hash": f"h{number}"}
        found["replicasets"].append({
            "metadata": meta("rs", f"d{number}-h{number}", number, ownerReferences=[owner]),
            "spec": {"replicas": pods, "selector": selector, "template": whole}, "status": status,
        })  # fmt: skip
        of = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": f"d{number}-h{number}",
            "uid": f"rs-{number}",
            "controller": True,
        }
        for index in range(pods):
            name = f"d{number}-h{number}-{index}"
            found["pods"].append({
                "metadata": meta("p", name, number * pods + index, ownerReferences=[of], labels=whole["metadata"]["labels"]),
                "spec": {**whole["spec"], "nodeName": f"node-{index}"},
                "status": {
                    "phase": "Running", "startTime": CREATED,
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": CREATED}],
                    "containerStatuses": [{
                        "name": "main", "ready": True, "restartCount": 0, "image": f"registry.example/d{number}:v1",
                        "imageID": f"example/d{number}@sha256:{number:064x}", "state": {"running": {"startedAt": CREATED}},
                    }],
                },
            })  # fmt: skip
    return found


class Server:
    """Answers lists and watches."""

    def __init__(self, items: dict[str, list[Json]]) -> None:
        self._items = {name: [json.dumps(item) for item in found] for name, found in items.items()}
        self.listed = sum(len(text) for found in self._items.values() for text in found)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A page of a list, or a watch in which nothing happens."""
        items = self._items.get(request.match_info["collection"], [])
        if request.query.get("watch"):
            return await self._watch(request)
        start, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or len(items) or 1)
        more = str(start + limit) if start + limit < len(items) else ""
        head = json.dumps({"resourceVersion": "999999", "continue": more})
        page = ",".join(items[start : start + limit])
        text = f'{{"kind":"List","apiVersion":"v1","metadata":{head},"items":[{page}]}}'
        return web.Response(text=text, content_type="application/json")

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "999999"}}}
        while True:
            await response.write(json.dumps(bookmark).encode() + b"\n")
            await asyncio.sleep(BOOKMARK_SECONDS)


async def main() -> None:
    """Run as the module says."""
    server = Server(collections(int(sys.argv[1]), int(sys.argv[2])))
    app = web.Application()
    for path in ("/apis/apps/v1/{collection}", "/api/v1/{collection}"):
        app.router.add_get(path, server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], server.listed, flush=True)  # noqa: T201  it is a program
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
