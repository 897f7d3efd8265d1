"""Switches that make a vendor's stand-in misbehave as vendors do."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One answer given instead of the true one; the request is not carried out. `retry_after` is in seconds.

    `method` None is for any request, else for those with that method.
    """

    status: int
    retry_after: int | None = None
    body: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str | None = None

    def response(self) -> web.Response:
        """The answer on the wire."""
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return web.json_response(dict(self.body), status=self.status, headers={**self.headers, **wait})


class Faults:
    """All off at first. `down` wins over failures, these over lost replies."""

    def __init__(self) -> None:
        self.down = False
        """While True every connection is cut without an answer, and nothing is carried out."""
        self._failures: deque[Failure] = deque()
        self._replies_to_lose: Counter[str | None] = Counter()

    def fail_next(
        self,
        count: int = 1,
        *,
        status: int = 503,
        retry_after: int | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> None:
        """Answer the next `count` requests (of a method) with this status and `Retry-After` seconds, not carried out."""
        failure = Failure(status=status, retry_after=retry_after, body=body or {}, headers=headers or {}, method=method)
        self._failures.extend([failure] * count)

    def lose_replies(self, count: int = 1, *, method: str | None = None) -> None:
        """Carry out the next `count` requests (of a method) that are accepted (2xx), then cut without an answer."""
        self._replies_to_lose[method] += count

    def next_failure(self, method: str) -> Failure | None:
        """Take the next planned failure that a request with this method gets, if any."""
        for failure in self._failures:
            if failure.method in (None, method):
                self._failures.remove(failure)
                return failure
        return None

    def _loses_reply(self, method: str) -> bool:
        for planned in (None, method):
            if self._replies_to_lose[planned]:
                self._replies_to_lose[planned] -= 1
                return True
        return False

    async def through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Run a handler under these faults."""
        if self.down:
            return _cut(request)
        if (failure := self.next_failure(request.method)) is not None:
            return failure.response()
        response = await handler(request)
        if response.status < 300 and self._loses_reply(request.method):
            return _cut(request)
        return response


def _cut(request: web.Request) -> web.Response:
    """Close the connection; the response goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
