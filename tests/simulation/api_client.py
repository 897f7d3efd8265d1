"""The Kubernetes client of one process: what handlers.kube.KubeClient offers, over the simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

from handlers.faults import FaultKind, Transient
from handlers.kube import FIELD_MANAGER, PEER, Page
from tests.simulation.kubernetes import KINDS, ApiServer, Obj, fault
from tests.simulation.network import HungError, LostError, Network, StatusError

PATIENCE_SECONDS = 30.0
"""As the client's own time limit."""

STALE_SECONDS = 30.0
"""How old a stale read may be."""


class SimApi:
    """workload_objects.Api and reflector.ListWatch. Raises only Transient and Permanent."""

    def __init__(
        self, server: ApiServer, network: Network, sender: int = 0, may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._server = server
        self._network = network
        self._sender = sender
        self._may_write = may_write
        self._watchers: list[tuple[str, asyncio.Event]] = []
        self._older: dict[tuple[str, str, str], tuple[float, Obj, Obj]] = {}

    async def is_ready(self) -> bool:
        """It never refuses anybody at its start."""
        return True

    def changed(self, plural: str, obj: Obj) -> None:
        """The server stored something: watches look, and the version before may be read as a stale one."""
        metadata = obj["metadata"]
        key = (plural, metadata.get("namespace", ""), metadata["name"])
        before = self._older.get(key)
        self._older[key] = (asyncio.get_running_loop().time(), before[2] if before else obj, obj)
        for watched, bell in self._watchers:
            if watched == plural:
                bell.set()

    async def get(self, path: str, *, metadata_only: bool = False, **query: Any) -> Obj:
        plural, namespace, name = place_of(path)

        def read() -> Obj:
            found = self._server.get(plural, namespace, name or "")
            if found is None:
                raise fault(404, "NotFound", f"{plural} {name} not found")
            return found

        def stale() -> Obj:
            at, before, _ = self._older.get((plural, namespace, name or ""), (-1e9, {}, {}))
            recent = asyncio.get_running_loop().time() - at < STALE_SECONDS
            return before if recent and before else read()

        found: Obj = await self._send(read, stale)
        return found

    async def list_pages(
        self,
        path: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        each: Callable[[Obj], Obj] | None = None,
    ) -> AsyncIterator[Page]:
        plural, namespace, _ = place_of(path)

        def read() -> tuple[list[Obj], str]:
            return list(self._server.all(plural, namespace or None)), str(self._server.version)

        items, version = await self._send(read)
        chosen = [obj for obj in items if _selected(obj, label_selector)]
        yield Page(
            items=[each(obj) if each else obj for obj in chosen], resource_version=version, first=True, last=True
        )

    async def watch(
        self,
        path: str,
        resource_version: str,
        timeout_seconds: int,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Obj, None]:
        plural, _, _ = place_of(path)
        version, server, loop = int(resource_version), self._server, asyncio.get_running_loop()
        await self._send(lambda: None)
        if on_open is not None:
            on_open()
        ends, bell = loop.time() + timeout_seconds, asyncio.Event()
        self._watchers.append((plural, bell))
        try:
            while True:
                if version < server.compacted:
                    raise fault(410, "Expired", "too old resource version")
                if self._network.fault("api", "cut", "410") is not None:
                    raise Transient(None, f"{PEER} broke off", FaultKind.NETWORK)
                if self._network.fault("api", "stale") is not None:
                    await asyncio.sleep(self._network.rng.uniform(1.0, STALE_SECONDS))
                bell.clear()
                for number, kind, obj in server.since(plural, version):
                    version = number
                    yield {"type": kind, "object": obj}
                if loop.time() >= ends:
                    break
                try:
                    async with asyncio.timeout_at(ends):
                        await bell.wait()
                except TimeoutError:
                    continue
                await asyncio.sleep(self._network.rng.uniform(0.001, 0.05))
        finally:
            self._watchers.remove((plural, bell))
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}

    async def patch_json(
        self, path: str, ops: Sequence[Obj], *, dry_run: bool = False, field_manager: str = FIELD_MANAGER
    ) -> Obj:
        plural, namespace, name = place_of(path)
        if not dry_run and not self._may_write():
            raise Transient(None, "this daemon does not lead any more: nothing was sent", FaultKind.CONFLICT)
        sent_at = asyncio.get_running_loop().time()

        def write() -> Obj:
            return self._server.patch(
                plural, namespace, name or "", ops, field_manager, sent_at=sent_at, sender=self._sender, dry_run=dry_run
            )

        stored: Obj = await self._send(write)
        return stored

    async def create(self, path: str, body: Obj) -> Obj:
        plural, namespace, _ = place_of(path)
        stored: Obj = await self._send(lambda: self._server.create(plural, namespace, body))
        return stored

    async def put(self, path: str, body: Obj) -> Obj:
        plural, namespace, name = place_of(path)
        loop = asyncio.get_running_loop()
        stored: Obj = await self._send(lambda: self._server.replace(plural, namespace, name or "", body, loop.time()))
        return stored

    async def delete(
        self, path: str, *, uid: str | None = None, resource_version: str | None = None, dry_run: bool = False
    ) -> Obj:
        raise AssertionError("nothing here is deleted by the daemon")

    async def _send(self, effect: Callable[[], Any], stale: Callable[[], Any] | None = None) -> Any:
        try:
            return await self._network.send("api", effect, patience=PATIENCE_SECONDS, stale=stale)
        except LostError:
            raise Transient(None, f"connection to {PEER} failed", FaultKind.NETWORK) from None
        except HungError:
            raise Transient(None, f"{PEER} did not answer in time", FaultKind.TIMEOUT) from None
        except StatusError as error:
            says = {403: "User lastgood cannot patch resource deployments"}.get(error.status, "simulated")
            raise fault(error.status, "Simulated", says) from None


def place_of(path: str) -> tuple[str, str, str | None]:
    """Collection, namespace (or nothing) and name of an address below the server's root."""
    parts = path.strip("/").split("/")
    if "namespaces" in parts[:-1]:
        _, namespace, plural, *name = parts[parts.index("namespaces") :]
    else:
        namespace, (plural, *name) = "", parts[2 if parts[0] == "api" else 3 :]
    assert plural in KINDS, path
    return plural, namespace, name[0] if name else None


def _selected(obj: Obj, selector: str | None) -> bool:
    labels = obj["metadata"].get("labels", {})
    terms = (term.partition("=") for term in (selector or "").split(",") if term)
    return all(labels.get(key) == value for key, _, value in terms)
