"""Presses of buttons by Socket Mode, for who has no public URL: Lastgood opens a WebSocket to Slack and listens there.

The library's own reconnecting is not used: it tries one and the same address for ever, and that address is a ticket which
soon ends, so an outage longer than that would never end; and it hangs up before the next connection stands. Here every
connection gets a client and a ticket of its own, with growing pauses after failures. The library logs whole messages and
addresses, tickets included; its log is silenced and what matters is told here.

Source: Slack documentation, "Using Socket Mode"; slack-sdk 3.47.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from daemon.ports import Telemetry
from handlers.alerts import MalformedError
from handlers.slack_presses import ACK_SECONDS, SOURCE, PressesFullError, SlackPresses

CONNECT_SECONDS_MAX = 20.0
"""Longest wait for a ticket and the connection."""

PING_SECONDS = 10.0
"""How often the connection is tried; four without an answer, and it counts as lost."""

LOOK_SECONDS = 0.5
"""How often it is looked at whether the connection still stands: the library tells nobody."""

STEADY_SECONDS = 30.0
"""A connection that stood this long was a good one: its successor is tried at once."""

RETRY_SECONDS_MIN = 1.0
RETRY_SECONDS_MAX = 30.0
"""Pause after a connection that failed or ended soon, doubled from the first to the second."""

OVERLAP_SECONDS = ACK_SECONDS + 0.5
"""How long the old connection is kept once the new one stands: what came by the old one is answered there."""

REQUEST_SECONDS = 10
"""Longest wait for the answer to a Web API call, in whole seconds as the library wants it."""

_silent = logging.getLogger("lastgood.slack_sdk")
_silent.setLevel(logging.CRITICAL + 1)
_silent.propagate = False

log = structlog.get_logger(__name__)


class _Connection(SocketModeClient):
    """One connection. Where Slack asks to move on to another (`disconnect`) it only says so: `is_connected` is false."""

    async def connect_to_new_endpoint(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's shape
        """Asked for by Slack, or by the library's watch."""
        self.stale = True


class SlackSocket:
    """Listens for presses. `app_token` is an app-level token (xapp-…) with connections:write; `base_url` the Web API's.

    The times are given by tests only.
    """

    def __init__(
        self,
        *,
        presses: SlackPresses,
        app_token: str,
        base_url: str,
        telemetry: Telemetry,
        connect_seconds: float = CONNECT_SECONDS_MAX,
        ping_seconds: float = PING_SECONDS,
        retry_seconds: float = RETRY_SECONDS_MIN,
    ) -> None:
        self._presses = presses
        self._token = app_token
        self._base_url = base_url.rstrip("/") + "/"
        self._telemetry = telemetry
        self._connect_seconds = connect_seconds
        self._ping_seconds = ping_seconds
        self._retry_seconds = retry_seconds

    async def run(self) -> None:
        """Keep a connection for ever."""
        loop, pause = asyncio.get_running_loop(), self._retry_seconds
        current: _Connection | None = None
        try:
            while True:
                began = loop.time()
                fresh = await self._connected()
                if fresh is not None:
                    old, current = current, fresh
                    await _retired(old)
                    while await current.is_connected():  # noqa: ASYNC110 - the library tells nobody
                        await asyncio.sleep(LOOK_SECONDS)
                    log.info("slack_socket_lost", asked=current.stale)
                if fresh is not None and loop.time() - began >= STEADY_SECONDS:
                    pause = self._retry_seconds
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, RETRY_SECONDS_MAX)
        finally:
            if current is not None:
                await _closed(current)

    async def _connected(self) -> _Connection | None:
        """A new connection; None where there is none to be had now."""
        client = self._client()
        try:
            async with asyncio.timeout(self._connect_seconds):
                client.wss_uri = await client.issue_new_wss_url()
                await client.connect()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - whatever the library makes of a broken answer must not end the daemon
            await _closed(client)
            self._telemetry.contact(SOURCE, ok=False)
            log.warning("slack_socket_failed", reason=_reason(error))
            return None
        except BaseException:
            await _closed(client)
            raise
        self._telemetry.contact(SOURCE, ok=True)
        log.info("slack_socket_connected")
        return client

    def _client(self) -> _Connection:
        web = AsyncWebClient(base_url=self._base_url, timeout=REQUEST_SECONDS, logger=_silent)
        client = _Connection(
            self._token, logger=_silent, web_client=web, auto_reconnect_enabled=False, ping_interval=self._ping_seconds
        )
        # As all our clients: no proxy from the environment, whose exceptions the library does not know.
        web.proxy = client.proxy = None
        client.socket_mode_request_listeners.append(self._received)
        return client

    async def _received(self, client: Any, request: SocketModeRequest) -> None:
        """One envelope: taken, then acknowledged, at the latest after two seconds."""
        try:
            if request.type == "interactive":
                await self._presses.take(request.payload)
            else:
                self._telemetry.intake(SOURCE, "ignored")
        except MalformedError as malformed:
            self._telemetry.intake(SOURCE, "malformed")
            log.warning("slack_envelope_refused", reason=str(malformed))
        except PressesFullError as full:
            # Not acknowledged: the presser sees that it failed.
            self._telemetry.intake(SOURCE, "full")
            log.warning("slack_envelope_refused", reason=str(full))
            return
        await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))


async def _retired(old: _Connection | None) -> None:
    """Close the connection before; one that still stands answers first what came by it."""
    if old is None:
        return
    try:
        if old.current_session is not None and not old.current_session.closed:
            await asyncio.sleep(OVERLAP_SECONDS)
    finally:
        await _closed(old)


async def _closed(client: _Connection) -> None:
    """Close everything that the client began, and wait for it: its tasks belong to nobody else."""
    with suppress(aiohttp.ClientError, OSError):
        await client.close()  # type: ignore[no-untyped-call]
    tasks = [client.message_processor, client.current_session_monitor, client.message_receiver]
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)


def _reason(error: Exception) -> str:
    """Why, without what may hold the ticket or the token."""
    word = error.response.get("error") if isinstance(error, SlackApiError) else None
    return word[:80] if isinstance(word, str) else type(error).__name__
