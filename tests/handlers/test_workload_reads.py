"""How a workload and its history are read: by name where that is enough, else all that its selector finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from daemon.core.model import Revision, Workload
from handlers import revisions, workload_objects
from handlers.faults import FaultKind, Permanent
from handlers.kube import Page

WEB = Workload(namespace="shop", kind="Deployment", name="web")
ROLLOUT = Workload(namespace="shop", kind="Rollout", name="web")

Json = dict[str, Any]


def template(image: str) -> Json:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}


def deployment(image: str) -> Json:
    """A Deployment that runs this image."""
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template(image)}
    return {"metadata": {"name": "web", "uid": "u"}, "spec": spec}


def rollout(pod_hash: str) -> Json:
    """A Rollout whose controller says that the ReplicaSet with this hash is the present one."""
    status = {"observedGeneration": "1", "currentPodHash": pod_hash, "stableRS": pod_hash}
    obj = deployment(pod_hash)
    return {**obj, "metadata": {**obj["metadata"], "generation": 1}, "status": status}


def owned(image: str, by: str = "u", **metadata: Any) -> Json:
    """An object of the history that holds this image, and is named after it."""
    owner = {"uid": by, "controller": True, "kind": "x", "name": "web", "apiVersion": "apps/v1"}
    labels = {"rollouts-pod-template-hash": image}
    return {
        "kind": "ReplicaSet",
        "metadata": {"name": image, "labels": labels, "ownerReferences": [owner], **metadata},
        "spec": {"template": template(image)},
    }


def named(*images: str) -> list[Revision]:
    return [revisions.revision_of(owned(image)) for image in images]


class Api:
    """One object, and a history of which single objects and all together are given. `together` counts requests out at once."""

    def __init__(self, obj: Json | None, *history: Json, listed: Sequence[Json] | None = None) -> None:
        self.obj = obj
        self.history = {each["metadata"]["name"]: each for each in history}
        self.listed = list(history) if listed is None else listed
        self.asked: list[str] = []
        self.out = self.together = 0

    async def get(self, path: str, **query: Any) -> Json:
        name = path.rsplit("/", 1)[1]
        await self._send(f"get {name}")
        found = self.obj if name == "web" else self.history.get(name)
        if found is None:
            raise Permanent("no such thing", FaultKind.NOT_FOUND, status=404)
        return found

    async def list_pages(self, path: str, *, label_selector: str | None = None, **more: Any) -> AsyncIterator[Page]:
        await self._send(f"list {label_selector}")
        yield Page(items=self.listed, resource_version="1", first=True, last=True)

    async def patch_json(self, path: str, ops: Any, **more: Any) -> Json:
        raise AssertionError("reading writes nothing")

    async def _send(self, what: str) -> None:
        self.asked.append(what)
        self.out += 1
        self.together = max(self.together, self.out)
        await asyncio.sleep(1)
        self.out -= 1


def names(fresh: workload_objects.Fresh | None) -> list[str]:
    assert fresh is not None
    return [each["metadata"]["name"] for each in fresh.history]


BY_NAME = ["get web", "get v2", "get v1"]
ALL = "list app=web"


async def test_by_name_and_at_once() -> None:
    """Two revisions that are known by name are read beside the object, and no list is waited for."""
    api = Api(deployment("v2"), owned("v1"), owned("v2"))
    assert sorted(names(await workload_objects.read(api, WEB, named("v2", "v1")))) == ["v1", "v2"]
    assert (api.asked, api.together) == (BY_NAME, 3)


async def test_without_names_by_the_selector() -> None:
    """Who wants the whole history has the object read first: it holds the selector."""
    api = Api(deployment("v2"), owned("v1"), owned("v2"), owned("other", by="another"))
    assert names(await workload_objects.read(api, WEB)) == ["v1", "v2"]
    assert (api.asked, api.together) == (["get web", ALL], 1)


@pytest.mark.parametrize(
    ("obj", "history"),
    [
        pytest.param(deployment("v3"), [owned("v1"), owned("v2"), owned("v3")], id="a-newer-rollout"),
        pytest.param(deployment("v2"), [owned("v2")], id="one-is-gone"),
        pytest.param(deployment("v2"), [owned("v1", by="before"), owned("v2")], id="one-is-anothers"),
        pytest.param(deployment("v2"), [owned("v1", deletionTimestamp="now"), owned("v2")], id="one-is-leaving"),
    ],
)
async def test_names_that_are_not_enough(obj: Json, history: list[Json]) -> None:
    """Where the names no longer tell all that is asked, everything is read: what is decided then is decided on the whole."""
    api = Api(obj, *history, listed=[*history, owned("v0")])
    assert "v0" in names(await workload_objects.read(api, WEB, named("v2", "v1")))
    assert api.asked == [*BY_NAME, ALL]


async def test_a_name_with_another_content() -> None:
    """A name that bears another template by now is no proof of the revision."""
    other = {**owned("v9"), "metadata": owned("v1")["metadata"]}
    api = Api(deployment("v2"), other, owned("v2"))
    assert len(names(await workload_objects.read(api, WEB, named("v2", "v1")))) == 2
    assert api.asked == [*BY_NAME, ALL]


async def test_what_its_controller_calls_present() -> None:
    """Of a kind whose controller says which revision is present, one that the names do not know is looked for in the list."""
    api = Api(rollout("v3"), owned("v1"), owned("v2"), listed=[owned("v1"), owned("v2"), owned("v3")])
    found = await workload_objects.read(api, ROLLOUT, named("v2", "v1"))
    assert found is not None
    assert found.is_told
    assert names(found) == ["v1", "v2", "v3"]


async def test_a_workload_that_is_gone() -> None:
    """None, and its history is nobody's business."""
    api = Api(None, owned("v1"), owned("v2"))
    assert await workload_objects.read(api, WEB, named("v2", "v1")) is None
    assert await workload_objects.read(api, WEB) is None
    assert api.asked == [*BY_NAME, "get web"]
