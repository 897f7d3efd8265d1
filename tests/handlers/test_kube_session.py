"""What a client leaves behind once it is closed: nothing, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from handlers.kube import KubeClient
from handlers.kube_access import from_url
from tests import brokers
from tests.handlers.scripted_api import PODS

pytestmark = pytest.mark.real

DEADLINE_SECONDS = 5.0
"""For what takes milliseconds; asyncio waits six times as long for a server's farewell."""

OPEN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def serve(listening: socket.socket, files: brokers.Certificates, answer: bytes, asked: Callable[[], object]) -> None:
    """Take one request, send this answer, and look on without a farewell until the client hangs up; TimeoutError if not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.server_key)
    listening.settimeout(DEADLINE_SECONDS)
    accepted, _ = listening.accept()
    with accepted, accepted.dup() as below:  # TLS itself would take the client's farewell for the end of the connection
        below.settimeout(DEADLINE_SECONDS)
        accepted.settimeout(DEADLINE_SECONDS)
        with context.wrap_socket(accepted, server_side=True) as spoken, contextlib.suppress(ConnectionResetError):
            spoken.recv(10_000)
            spoken.sendall(answer)
            asked()
            while below.recv(10_000):
                pass


@pytest.mark.parametrize("answer", [OPEN, b""], ids=["open", "asked"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_cancelled_watch_is_cut(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop], answer: bytes) -> None:
    """Once the client is closed no connection is left, though the server does not answer our farewell; on the daemon's loop too.

    It would stay open for 30 seconds, or, where the loop ends before, be left to the garbage collector.
    """
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(cancel_a_watch(brokers.certificates(tmp_path), answer))


async def cancel_a_watch(files: brokers.Certificates, answer: bytes) -> None:
    """Open a watch, cancel it once the server has it, and close the client; TimeoutError if the server is not hung up on."""
    asked, opened, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(
            asyncio.to_thread(serve, listening, files, answer, lambda: loop.call_soon_threadsafe(asked.set))
        )
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        async with KubeClient(from_url(url, token="t0ken", ca_file=files.authority)) as client:
            watch = asyncio.ensure_future(anext(client.watch(PODS, "7", 30, on_open=opened.set)))
            async with asyncio.timeout(DEADLINE_SECONDS):
                await (opened if answer else asked).wait()
            watch.cancel()
            await asyncio.wait([watch])
        await serving
