"""The connection itself: what it reaches into libraries for, and what it makes of brokers that refuse or misbehave."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiomqtt
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from handlers.faults import Fault, Permanent, Transient
from handlers.mqtt_link import Broker, Tls, connect

CONNECTED = bytes([0x20, 3, 0, 0, 0])  # CONNACK: no session, success, no properties
SUBSCRIBED = bytes([0x90, 4, 0, 1, 0, 1])  # SUBACK of packet 1: no properties, QoS 1 granted


def test_what_is_reached_into_is_still_there() -> None:
    """The installed libraries have the private parts that acknowledging by hand needs, and use them as expected."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.manual_ack_set(True)
    assert client._manual_ack is True
    assert list(inspect.signature(client.ack).parameters) == ["mid", "qos"]
    assert list(inspect.signature(client._send_pubrec).parameters) == ["mid"]
    assert not inspect.signature(client._handle_pubrel).parameters
    assert client._in_messages == {}
    assert not inspect.signature(client._sock_close).parameters
    assert "self._send_pubrec(" in inspect.getsource(client._handle_publish)
    assert "if self._manual_ack" in inspect.getsource(client._handle_publish)
    assert "self._handle_pubrel()" in inspect.getsource(client._packet_handle)
    assert "_in_messages" in inspect.getsource(client._handle_pubrel)


async def test_aiomqtt_holds_what_is_reached_into() -> None:
    """The asyncio side keeps paho's client and its end where this code looks, and hands itself paho's callbacks."""
    client = aiomqtt.Client("127.0.0.1", protocol=aiomqtt.ProtocolVersion.V5)
    assert isinstance(client._client, paho.Client)
    assert isinstance(client._disconnected, asyncio.Future)
    assert client._client.on_message == client._on_message
    assert client._client.on_connect == client._on_connect


@asynccontextmanager
async def scripted(*answers: bytes, hang_up: bool = False) -> AsyncIterator[Broker]:
    """A broker that answers each packet of ours with the next answer, then is silent or hangs up."""
    inside: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside.add(writer)
        for answer in answers:
            if not await reader.read(4096):
                break
            writer.write(answer)
        if not hang_up:
            while await reader.read(4096):
                pass
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield broker(server.sockets[0].getsockname()[1])
    finally:
        for writer in inside:
            writer.close()
        server.close()
        await server.wait_closed()


def broker(port: int) -> Broker:
    return Broker(
        host="127.0.0.1",
        port=port,
        client_id="lastgood-test",
        topics=("a/#",),
        qos=1,
        session_expiry_seconds=60,
        receive_maximum=2,
        body_bytes_max=1024,
        answer_seconds=1.0,
    )


async def fault_of(*answers: bytes, hang_up: bool = False) -> Fault:
    """What becomes of a connection to such a broker; it ends in any case."""
    async with scripted(*answers, hang_up=hang_up) as settings, asyncio.timeout(10):
        with pytest.raises(Fault) as caught:
            async with connect(settings) as link:
                await link.receive()
    return caught.value


@pytest.mark.real
@pytest.mark.parametrize(
    ("answers", "kind", "text"),
    [
        pytest.param([bytes([0x20, 3, 0, 0x86, 0])], Permanent, "check mqtt.username, mqtt.password", id="login"),
        pytest.param([bytes([0x20, 3, 0, 0x87, 0])], Permanent, "check mqtt.username, mqtt.password", id="rights"),
        pytest.param([bytes([0x20, 3, 0, 0x85, 0])], Permanent, "set mqtt.client_id", id="client-id"),
        pytest.param([bytes([0x20, 3, 0, 0x84, 0])], Permanent, "does not speak MQTT 5", id="version"),
        pytest.param([bytes([0x20, 2, 0, 0x01])], Permanent, "does not speak MQTT 5", id="mqtt-3"),
        pytest.param([bytes([0x20, 3, 0, 0x89, 0])], Transient, "Server busy", id="busy"),
        pytest.param([CONNECTED, bytes([0x90, 4, 0, 1, 0, 0x87])], Permanent, "lets us not read a/#", id="topic"),
        pytest.param([CONNECTED, bytes([0x90, 4, 0, 1, 0, 0x9E])], Permanent, "mqtt.shared_group", id="no-sharing"),
        pytest.param(
            [CONNECTED, SUBSCRIBED + bytes([0xE0, 2, 0x8E, 0])],
            Permanent,
            "give each its own mqtt.client_id",
            id="taken",
        ),
        pytest.param([CONNECTED, SUBSCRIBED + bytes([0xE0, 2, 0x8B, 0])], Transient, "shutting down", id="shut-down"),
        pytest.param([b"HTTP/1.1 400 Bad Request\r\n\r\n"], Transient, "failed", id="http"),
        pytest.param([CONNECTED, SUBSCRIBED + b"\xff" * 64], Transient, "", id="garbage"),
        pytest.param([CONNECTED, SUBSCRIBED + bytes([0x32, 6, 0, 9, 1, 2, 3, 4])], Transient, "", id="cut-message"),
    ],
)
async def test_brokers_that_refuse_or_talk_nonsense(answers: list[bytes], kind: type[Fault], text: str) -> None:
    """Each becomes a fault that says what to do, and nothing else is raised."""
    fault = await fault_of(*answers, hang_up=answers[0][0] == ord("H"))
    assert isinstance(fault, kind)
    assert text in fault.reason


@pytest.mark.real
@pytest.mark.parametrize("answers", [[], [CONNECTED], [CONNECTED, SUBSCRIBED]])
async def test_brokers_that_hang_up(answers: list[bytes]) -> None:
    """A connection that ends at any point is a passing fault."""
    assert isinstance(await fault_of(*answers, hang_up=True), Transient)


@pytest.mark.real
@pytest.mark.parametrize("answers", [[], [CONNECTED]])
async def test_a_silent_broker_leaves_no_ghost(answers: list[bytes]) -> None:
    """A broker that does not answer is given up, and the connection to it is closed."""
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(answers))
        while await reader.read(4096):
            pass
        writer.close()
        ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, asyncio.timeout(10):
        with pytest.raises(Transient, match="timed out"):
            async with connect(broker(server.sockets[0].getsockname()[1])):
                pass
        await ended.wait()


@pytest.mark.real
async def test_cancelled_while_connecting() -> None:
    """A stop while TLS hangs takes effect at once, and leaves no task behind when the thread is done."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        while await reader.read(4096):
            pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    settings = replace(broker(server.sockets[0].getsockname()[1]), tls=Tls())
    loop = asyncio.get_running_loop()

    async def run() -> None:
        async with connect(settings):
            pass

    async with server, asyncio.timeout(20):
        task = loop.create_task(run())
        await arrived.wait()
        before = loop.time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.time() - before < 2
        await gone.wait()
    assert not [other for other in asyncio.all_tasks() if "_misc_loop" in repr(other)]
