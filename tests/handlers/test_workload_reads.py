"""How a workload and its history are read: together where the selector is known, and never a mixture of two moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from daemon.core.model import Workload
from handlers import workload_objects
from handlers.kube import Page
from handlers.workload_objects import SELECTORS_MAX, Selectors

WEB = Workload(namespace="shop", kind="Deployment", name="web")
ROLLOUT = Workload(namespace="shop", kind="Rollout", name="web")

Json = dict[str, Any]


def deployment(app: str = "web") -> Json:
    """A Deployment whose selector names `app`."""
    template = {"metadata": {"labels": {"app": app}}, "spec": {}}
    return {"metadata": {"uid": "u"}, "spec": {"selector": {"matchLabels": {"app": app}}, "template": template}}


def rollout(pod_hash: str) -> Json:
    """A Rollout whose controller says that the ReplicaSet with this hash is the present one."""
    status = {"observedGeneration": "1", "currentPodHash": pod_hash, "stableRS": pod_hash}
    obj = deployment()
    return {**obj, "metadata": {**obj["metadata"], "generation": 1}, "status": status}


def owned(name: str) -> Json:
    """An object of the history."""
    owner = {"uid": "u", "controller": True, "kind": "x", "name": "web", "apiVersion": "apps/v1"}
    metadata = {"name": name, "labels": {"rollouts-pod-template-hash": name}, "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"template": {"metadata": {}, "spec": {}}}}


class Api:
    """Answers as scripted; one list per selector and time asked. `together` counts requests that were out at once."""

    def __init__(self, obj: Json, **lists: list[list[Json]]) -> None:
        self.obj = obj
        self.lists = lists
        self.asked: list[str] = []
        self.out = self.together = 0

    async def get(self, path: str, **query: Any) -> Json:
        await self._send("get")
        return self.obj

    async def list_pages(self, path: str, *, label_selector: str | None = None, **more: Any) -> AsyncIterator[Page]:
        await self._send(f"list {label_selector}")
        items = self.lists[str(label_selector).removeprefix("app=")].pop(0)
        yield Page(items=items, resource_version="1", first=True, last=True)

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


async def test_read_once_then_together() -> None:
    """The first time the selector has to be read first; from then on both requests are out at the same time."""
    api, selectors = Api(deployment(), web=[[owned("a")], [owned("b")]]), Selectors()
    assert names(await workload_objects.read(api, WEB, selectors)) == ["a"]
    assert (api.asked, api.together) == (["get", "list app=web"], 1)
    assert names(await workload_objects.read(api, WEB, selectors)) == ["b"]
    assert (api.asked[2:], api.together) == (["get", "list app=web"], 2)


async def test_without_memory_one_after_the_other() -> None:
    """Who remembers nothing reads as before."""
    api = Api(deployment(), web=[[owned("a")], [owned("b")]])
    assert names(await workload_objects.read(api, WEB)) == ["a"]
    assert names(await workload_objects.read(api, WEB)) == ["b"]
    assert api.together == 1


async def test_another_selector_is_read_anew() -> None:
    """Made anew with another selector: what the old one found does not count."""
    selectors = Selectors()
    await workload_objects.read(Api(deployment(), web=[[]]), WEB, selectors)
    api = Api(deployment("shop"), web=[[owned("old")]], shop=[[owned("new")], [owned("new")]])
    assert names(await workload_objects.read(api, WEB, selectors)) == ["new"]
    assert api.asked == ["get", "list app=web", "list app=shop"]
    await workload_objects.read(api, WEB, selectors)
    assert api.asked[3:] == ["get", "list app=shop"]


async def test_a_list_from_before_the_rollout_is_read_again() -> None:
    """The object names a revision that the list, answered a moment earlier, does not have yet."""
    selectors = Selectors()
    await workload_objects.read(Api(rollout("one"), web=[[owned("one")]]), ROLLOUT, selectors)
    api = Api(rollout("two"), web=[[owned("one")], [owned("one"), owned("two")]])
    assert names(await workload_objects.read(api, ROLLOUT, selectors)) == ["one", "two"]
    assert api.asked == ["get", "list app=web", "list app=web"]


def test_it_forgets() -> None:
    """What is remembered has a bound; the oldest goes first, and one that is read again is not old."""
    selectors = Selectors()
    for number in range(SELECTORS_MAX):
        selectors.note(Workload(namespace="shop", kind="Deployment", name=f"w{number}"), "app=x")
    first, second = (Workload(namespace="shop", kind="Deployment", name=name) for name in ("w0", "w1"))
    selectors.note(first, "app=x")
    selectors.note(WEB, "app=web")
    assert selectors.of(WEB) == "app=web"
    assert selectors.of(first) == "app=x"
    assert selectors.of(second) is None
