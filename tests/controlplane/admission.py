"""A validating admission webhook on loopback, which every minor can call."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, until

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@asynccontextmanager
async def denies(plane: ControlPlane, namespace: str, word: str, message: str) -> AsyncIterator[None]:
    """While it lasts, a Deployment of the namespace whose template holds the word is refused with the message."""

    async def review(request: web.Request) -> web.Response:
        asked = (await request.json())["request"]
        allowed = word not in json.dumps((asked.get("object") or {}).get("spec", {}).get("template"))
        verdict: Json = {"uid": asked["uid"], "allowed": allowed}
        if not allowed:
            verdict["status"] = {"message": message}
        return web.json_response(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": verdict}
        )  # fmt: skip

    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/", review)
    # The API server's own certificate: valid for 127.0.0.1, and its own CA.
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(plane.ca, plane.ca.with_suffix(".key"))
    served = web.AppRunner(app)
    await served.setup()
    await web.TCPSite(served, "127.0.0.1", 0, ssl_context=context).start()
    port = served.addresses[0][1]
    try:
        await asyncio.to_thread(_register, plane, namespace, port)
        await asyncio.to_thread(_until_it_denies, plane, namespace, word)
        yield
    finally:
        await asyncio.to_thread(plane.ask, "DELETE", f"{WEBHOOKS}/{namespace}")
        await served.cleanup()


def _register(plane: ControlPlane, namespace: str, port: int) -> None:
    merge = "application/merge-patch+json"
    label = {"metadata": {"labels": {"admission": namespace}}}  # older minors do not label a namespace with its name
    assert plane.ask("PATCH", f"/api/v1/namespaces/{namespace}", label, kind=merge)[0] == 200
    hook: Json = {
        "name": "words.tests.example",
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/",
            "caBundle": base64.b64encode(plane.ca.read_bytes()).decode(),
        },
        "rules": [
            {
                "apiGroups": ["apps"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["deployments"],
            }
        ],
        "namespaceSelector": {"matchLabels": {"admission": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    status, answer = plane.ask("POST", WEBHOOKS, {"metadata": {"name": namespace}, "webhooks": [hook]})
    assert status == 201, answer


def _until_it_denies(plane: ControlPlane, namespace: str, word: str) -> None:
    """An API server learns of its webhooks by a watch: asked with a dry run until it does."""
    labels = {"app": "probe"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": word}]}}
    body = {"metadata": {"name": "probe"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    where = f"/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All"
    until(lambda: plane.ask("POST", where, body)[0], lambda status: status != 201)
