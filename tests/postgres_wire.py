"""The wire between a journal and its server, for what only a network does: answers that get lost, requests that come late."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.postgres import Server

SOCKET = ".s.PGSQL.5432"


class Wire:
    """A Unix socket in front of a server's. What is under way when it misbehaves decides, so tests turn it on and off:

    `loses_answers`: what the server answers ends the connection instead of arriving. `holds_requests`: what is asked waits
    in the wire, also when whoever asked has gone, until `deliver`. With `holds_only`, this begins on each connection with a
    request that holds all of these texts.
    """

    def __init__(self, server: Server) -> None:
        self._behind = str(server.folder / SOCKET)
        self.folder = Path(tempfile.mkdtemp(prefix="pgw-"))
        self.url = server.url.replace(str(server.folder), str(self.folder))
        self.loses_answers = False
        self.holds_requests = False
        self.holds_only: tuple[bytes, ...] = ()
        self.lost = 0
        self.held: list[tuple[bytes, asyncio.StreamWriter]] = []
        self._clients: list[asyncio.StreamWriter] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: both ways until one side ends."""
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._behind)
        except OSError:  # the server is down: so is what stands in front of it
            writer.close()
            return
        self._clients.append(writer)
        self._writers += (writer, to_server)
        for each in (self._requests(reader, to_server), self._answers(from_server, writer)):
            task = asyncio.get_running_loop().create_task(each)
            self._tasks.add(task)

    async def _requests(self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self._holds(data, to_server):
                    self.held.append((data, to_server))
                else:
                    to_server.write(data)
        if not any(server is to_server for _, server in self.held):
            to_server.close()

    def _holds(self, data: bytes, to_server: asyncio.StreamWriter) -> bool:
        if not self.holds_requests:
            return False
        is_behind = any(server is to_server for _, server in self.held)
        return is_behind or all(text in data for text in self.holds_only)

    async def _answers(self, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await from_server.read(65536):
                if self.loses_answers:
                    self.lost += 1
                    break
                writer.write(data)
        writer.close()

    def cut(self) -> None:
        """Every client loses its connection; the server does not know."""
        for writer in self._clients:
            writer.close()
        self._clients.clear()

    async def until_lost(self) -> None:
        """Lose one answer, and behave again."""
        before, self.loses_answers = self.lost, True
        async with asyncio.timeout(20):
            while self.lost == before:
                await asyncio.sleep(0.01)
        self.loses_answers = False

    async def until_held(self) -> None:
        """Return when a request waits in the wire."""
        async with asyncio.timeout(20):
            while not self.held:
                await asyncio.sleep(0.01)

    async def deliver(self) -> None:
        """What was held arrives now, and the server has the time to do it."""
        self.holds_requests = False
        held, self.held = self.held, []
        for data, to_server in held:
            to_server.write(data)
            await to_server.drain()
        await asyncio.sleep(0.3)  # nobody tells when the server has done what nobody waits for any more
        for _, to_server in held:
            to_server.close()

    def drop(self) -> None:
        """What was held never arrives."""
        self.holds_requests = False
        held, self.held = self.held, []
        for _, to_server in held:
            to_server.close()

    async def close(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        shutil.rmtree(self.folder)


@asynccontextmanager
async def wire_to(server: Server) -> AsyncIterator[Wire]:
    """A wire that behaves, until it is told otherwise."""
    wire = Wire(server)
    listening = await asyncio.start_unix_server(wire.relay, wire.folder / SOCKET)
    try:
        yield wire
    finally:
        listening.close()
        await wire.close()
