"""Reading the bodies of strangers: senders who are proven by a signature are known only after their body was read.

Until then such bodies have a share of memory of their own, so that a flood of them uses up neither what Alertmanager's webhooks
share (ServerLimits.bodies_bytes_max) nor another address' share.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from handlers.server import BodyRefusedError


class BodyShare:
    """At most `bodies_max` bodies at one time, each of at most `bytes_max` bytes (unpacked), each here within `seconds_max`.

    `reading` is how many are being read.
    """

    def __init__(self, *, bodies_max: int, bytes_max: int, seconds_max: float) -> None:
        self._bodies_max = bodies_max
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self.reading = 0

    async def read(self, request: web.Request) -> bytes:
        """The raw body. Raises BodyRefusedError: 413 too large, 503 too many or too slow, 400 a broken transfer."""
        if (request.content_length or 0) > self._bytes_max:
            raise self._too_large()
        if self.reading >= self._bodies_max:
            raise BodyRefusedError(503, "too many requests at one time")
        self.reading += 1
        try:
            async with asyncio.timeout(self._seconds_max):
                return await self._collected(request)
        except TimeoutError:
            raise BodyRefusedError(503, f"the body did not arrive within {self._seconds_max:g} s") from None
        except web.RequestPayloadError:
            raise BodyRefusedError(400, "body: the transfer or content encoding is broken") from None
        finally:
            self.reading -= 1

    async def _collected(self, request: web.Request) -> bytes:
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > self._bytes_max:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> BodyRefusedError:
        return BodyRefusedError(413, f"the body is larger than {self._bytes_max} bytes")
