"""Watch streams: one JSON object a line, from a resourceVersion on, with bookmarks and a time limit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from aiohttp import web

from deploy.sandbox.kube.errors import ApiError, Json, unreadable_version
from deploy.sandbox.kube.faults import Faults
from deploy.sandbox.kube.lists import selection
from deploy.sandbox.kube.paths import Target
from deploy.sandbox.kube.selectors import Match
from deploy.sandbox.kube.store import Change, Store

QUEUE_MAX = 10_000
"""Changes a slow reader may lag behind; then its stream is cut, as the real cacher does."""

TIMEOUT_SECONDS = 1800.0
"""The stream's length when the client names none (the real server: 30 to 60 minutes)."""

_INITIAL_END = "k8s.io/initial-events-end"


class _Stream:
    """One running watch: the events that wait, and whether it shall end."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Json | None] = asyncio.Queue()
        self._cut = False
        self.abrupt = False

    def end(self, *, abrupt: bool) -> None:
        self._cut, self.abrupt = True, abrupt
        self.queue.put_nowait(None)  # wakes the writer

    def is_cut(self) -> bool:
        return self._cut

    async def next(self, seconds: float) -> Json | None:
        """The next event; None when ``seconds`` are over, or to look at ``cut``."""
        try:
            async with asyncio.timeout(seconds):
                return await self.queue.get()
        except TimeoutError:
            return None


class Watches:
    """All running watch streams of one server."""

    def __init__(self, store: Store, faults: Faults, *, bookmark_seconds: float) -> None:
        self._store = store
        self._faults = faults
        self._bookmark_seconds = bookmark_seconds
        self._streams: set[_Stream] = set()

    @property
    def running(self) -> int:
        """Streams open now."""
        return len(self._streams)

    def cut(self, *, abrupt: bool = False) -> None:
        """Ends every stream now: with a clean end of the response, or ``abrupt``, in the middle of nothing."""
        for stream in tuple(self._streams):
            stream.end(abrupt=abrupt)

    async def serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Streams until the client goes, the time is over, or the stream is cut."""
        match = selection(request.query, target.resource)
        stream = _Stream()

        def heard(change: Change) -> None:
            event = _event(change, target, match)
            if event is not None:
                stream.queue.put_nowait(event)
            if stream.queue.qsize() > QUEUE_MAX:
                stream.end(abrupt=False)

        # No await between the first events and the listening: nothing can be missed and nothing come twice.
        for event in self._first(request.query, target, match):
            stream.queue.put_nowait(event)
        silence = self._store.listen(heard)
        self._streams.add(stream)
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            await self._pump(response, stream, target, request.query)
            if stream.abrupt and request.transport is not None:
                request.transport.abort()
            return response
        finally:
            silence()
            self._streams.discard(stream)

    def _first(self, query: Mapping[str, str], target: Target, match: Match) -> list[Json]:
        """The events before the first new one: the state as it is (no version), or the changes missed since."""
        text = query.get("resourceVersion", "")
        if text in ("", "0") or _true(query, "sendInitialEvents"):
            present = self._store.objects(target.resource, target.namespace)
            events: list[Json] = [{"type": "ADDED", "object": obj} for obj in present if match(obj)]
            if _true(query, "sendInitialEvents"):
                events.append(self._bookmark(target, {_INITIAL_END: "true"}))
            return events
        if not text.isdigit():
            raise unreadable_version(text)
        try:
            missed = self._store.since(int(text))
        except ApiError as error:
            if self._faults.gone_as_status:
                raise
            return [{"type": "ERROR", "object": error.status()}]
        found = (_event(change, target, match) for change in missed)
        return [event for event in found if event is not None]

    async def _pump(
        self, response: web.StreamResponse, stream: _Stream, target: Target, query: Mapping[str, str]
    ) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + float(query.get("timeoutSeconds") or TIMEOUT_SECONDS)
        bookmarks = _true(query, "allowWatchBookmarks")
        while not stream.is_cut():
            left = ends - loop.time()
            if left <= 0 and not self._faults.hang_watches:
                return
            event = await stream.next(min(left, self._bookmark_seconds) if left > 0 else self._bookmark_seconds)
            if stream.is_cut() or self._faults.hang_watches:
                continue
            if event is None and bookmarks:
                event = self._bookmark(target, {})
            if event is not None:
                await response.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
                if event["type"] == "ERROR":
                    return

    def _bookmark(self, target: Target, annotations: Json) -> Json:
        metadata: Json = {"resourceVersion": str(self._store.version)}
        if annotations:
            metadata["annotations"] = annotations
        resource = target.resource
        empty = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": empty}


def _event(change: Change, target: Target, match: Match) -> Json | None:
    """The change as this watch sees it: an object that leaves the selection is DELETED for it."""
    if change.resource is not target.resource:
        return None
    if target.namespace and change.obj["metadata"].get("namespace") != target.namespace:
        return None
    was = change.before is not None and match(change.before)
    is_now = change.type != "DELETED" and match(change.obj)
    if is_now:
        return {"type": "MODIFIED" if was else "ADDED", "object": change.obj}
    return {"type": "DELETED", "object": change.obj} if was else None


def _true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true")
