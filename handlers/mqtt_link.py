"""A connection to an MQTT 5 broker whose messages are acknowledged by us, and not by the library.

aiomqtt acknowledges a message as soon as it is queued, so that a crash before it is kept loses it; so does paho below it.
Acknowledging by hand is no public feature of aiomqtt 2 (aiomqtt issue 345), and needs the paho client inside: everything that
reaches into it stands in `_Acknowledgements` and `_hang_up`, and tests/handlers/test_mqtt_link.py fails when it moves.

Each connection is a new client: what one knows about messages that are under way must not be believed by the next. The
session lives at the broker, by the client id.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from handlers.faults import Fault, FaultKind, Permanent, Transient

PEER = "the MQTT broker"

KEEPALIVE_SECONDS = 20
"""Between pings; a broker that went silent is noticed within two of them."""

HANDSHAKE_SECONDS = 5.0
"""How long a TLS handshake may take. It runs in a thread, for which the end of the process waits; so does TCP's, 5 s in paho."""

ANSWER_SECONDS = 10.0
"""How long the broker may take for the answer to a connect or subscribe request. aiomqtt waits so long, too, when the broker
hangs up instead of answering."""

PROPERTIES_BYTES_MAX = 65_536
"""Room beside the body in a packet: topic, user properties. A message this much over the body's limit is still received,
so that it can be refused and counted; what is larger the broker drops (MQTT 5, 3.1.2.11.4)."""

_BAD_LOGIN = (0x86, 0x87, 0x8C)  # bad user name or password, not authorized, bad authentication method
_NOT_AUTHORIZED = 0x87
_BAD_CLIENT_ID = 0x85
_BANNED = 0x8A
_WRONG_VERSION = (0x01, 0x84)  # 1: what a broker says that knows only MQTT 3
_TAKEN_OVER = 0x8E
_CLOSED = 0x80  # what paho makes of a connection that ended without a word
_BAD_REQUEST = (0x8F, 0x9E, 0xA2)  # topic filter invalid; shared, wildcard subscriptions not supported


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files for TLS; None takes the system's authorities, and no certificate of ours. The broker's name is always checked."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where and as whom to connect, and what to subscribe to.

    session_expiry_seconds: how long the broker keeps our session while we are away. receive_maximum: unacknowledged messages that
    it may send. body_bytes_max: largest payload. `shared_group` makes each subscription a shared one.
    """

    host: str
    port: int
    client_id: str
    topics: tuple[str, ...]
    qos: int
    session_expiry_seconds: int
    receive_maximum: int
    body_bytes_max: int
    tls: Tls | None = None
    username: str | None = None
    password: str | None = None
    shared_group: str | None = None
    answer_seconds: float = ANSWER_SECONDS
    keepalive_seconds: int = KEEPALIVE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message as the broker handed it over; `mid` and `qos` are what its acknowledgement needs.

    `attributes` are its user properties, `retained` that it is an old one which the broker kept for new subscribers, `wanted`
    that its topic is among the configured ones (a session remembers the subscriptions of former configurations).
    """

    topic: str
    body: bytes
    content_type: str | None
    attributes: Mapping[str, str]
    retained: bool
    wanted: bool
    qos: int
    mid: int


class Link:
    """One connection. `resumed` tells whether the broker still had our session; if not, messages may have been missed."""

    def __init__(self, client: aiomqtt.Client, topics: tuple[str, ...]) -> None:
        self._client = client
        self._topics = topics
        self._acknowledgements = _Acknowledgements(client)

    @property
    def resumed(self) -> bool:
        """The broker remembered us."""
        return self._acknowledgements.resumed

    async def receive(self) -> Delivery:
        """The next message, in the order in which they came; raises a Fault when the connection ends."""
        with _translated():
            message = await anext(self._client.messages)
        return _delivery(message, self._topics)

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that it may forget the message. In the order of delivery (MQTT 5, 4.6), and only once."""
        self._acknowledgements.send(delivery)


class _Acknowledgements:
    """The one place that changes what paho acknowledges by itself.

    QoS 1: paho has `manual_ack_set` and `ack` for it. QoS 2: even then it answers PUBREC before anybody saw the message, and
    keeps it only in memory until PUBREL: a crash there loses it. So PUBREC is held back until we have the message (method B of
    MQTT 5, 4.3.3), the message is handed over at once, and PUBREL is answered by paho as if it knew nothing of the message.
    """

    def __init__(self, client: aiomqtt.Client) -> None:
        paho: Any = client._client  # noqa: SLF001 - there is no public way, see the module's text
        self._paho = paho
        self._loop = asyncio.get_running_loop()
        self.resumed = False
        self._send_pubrec = paho._send_pubrec  # noqa: SLF001
        self._handle_pubrel = paho._handle_pubrel  # noqa: SLF001
        self._on_connect = paho.on_connect
        paho.manual_ack_set(True)
        paho._send_pubrec = self._hold_back  # noqa: SLF001
        paho._handle_pubrel = self._released  # noqa: SLF001
        paho.on_connect = self._connected

    def send(self, delivery: Delivery) -> None:
        if delivery.qos == 1:
            self._paho.ack(delivery.mid, 1)
        elif delivery.qos == 2:
            self._send_pubrec(delivery.mid)

    def _connected(self, client: Any, userdata: Any, flags: Any, *answer: Any) -> None:
        self.resumed = bool(flags.session_present)
        self._on_connect(client, userdata, flags, *answer)

    def _hold_back(self, mid: int) -> int:
        # paho stores the message after this call; then it is handed over.
        self._loop.call_soon(self._hand_over, mid)
        return 0  # MQTT_ERR_SUCCESS

    def _hand_over(self, mid: int) -> None:
        message = self._paho._in_messages.pop(mid, None)  # noqa: SLF001
        if message is not None:
            self._paho.on_message(self._paho, None, message)

    def _released(self) -> Any:
        self._paho.manual_ack_set(False)  # so that paho answers with PUBCOMP
        try:
            return self._handle_pubrel()
        finally:
            self._paho.manual_ack_set(True)


@asynccontextmanager
async def connect(broker: Broker) -> AsyncIterator[Link]:
    """Connect, subscribe, and hang up at the end. Raises Transient or Permanent with a remedy; the session stays alive."""
    context = await asyncio.to_thread(_tls_context, broker.tls) if broker.tls is not None else None
    client = _client(broker, context)
    link = Link(client, broker.topics)
    entered = False
    try:
        with _translated():
            await client.__aenter__()
            entered = True
            await _subscribe(client, broker)
        yield link
    finally:
        await _hang_up(client, entered=entered)


def _client(broker: Broker, context: ssl.SSLContext | None) -> aiomqtt.Client:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = broker.session_expiry_seconds
    properties.ReceiveMaximum = broker.receive_maximum
    properties.MaximumPacketSize = broker.body_bytes_max + PROPERTIES_BYTES_MAX
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username,
        password=broker.password,
        identifier=broker.client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
        tls_context=context,
        keepalive=broker.keepalive_seconds,
        timeout=broker.answer_seconds,
        logger=_silent(),
        queue_type=_queue_for(broker.receive_maximum),
    )


def _silent() -> logging.Logger:
    """For the library's own lines: each attempt writes some, while what they say is in the fault, which is told once."""
    logger = logging.getLogger("mqtt.library")
    logger.setLevel(logging.CRITICAL)
    return logger


def _queue_for(receive_maximum: int) -> type[asyncio.Queue[aiomqtt.Message]]:
    """A queue that drops QoS 0 when full: nothing else holds those back, and nobody was promised anything for them.

    The others are limited by the receive maximum, and dropping one would hold up its slot until the next connection.
    """

    class Incoming(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            if item.qos > 0 or self.qsize() < receive_maximum:
                super().put_nowait(item)

    return Incoming


async def _subscribe(client: aiomqtt.Client, broker: Broker) -> None:
    # Retained messages come only with a new subscription, not at each return; each notice has its own time anyway.
    options = SubscribeOptions(qos=broker.qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    prefix = f"$share/{broker.shared_group}/" if broker.shared_group else ""
    answers = await client.subscribe([(f"{prefix}{topic}", options) for topic in broker.topics])
    for topic, answer in zip(broker.topics, answers, strict=True):
        if isinstance(answer, ReasonCode) and answer.is_failure:
            raise _refused_subscription(topic, answer)


def _delivery(message: aiomqtt.Message, topics: tuple[str, ...]) -> Delivery:
    properties = message.properties
    pairs = getattr(properties, "UserProperty", ())  # absent where not sent
    return Delivery(
        topic=message.topic.value,
        body=message.payload,
        content_type=getattr(properties, "ContentType", None),
        attributes=MappingProxyType(dict(pairs)),
        retained=message.retain,
        wanted=any(message.topic.matches(topic) for topic in topics),
        qos=message.qos,
        mid=message.mid,
    )


async def _hang_up(client: aiomqtt.Client, *, entered: bool) -> None:
    """Say goodbye where possible, and close the socket in any case.

    aiomqtt leaves it open, with its ping task, when the broker does not answer a connect request in time or when reading
    fails: such a ghost would answer pings, and be kicked and kick by our client id.
    """
    paho = client._client  # noqa: SLF001
    if not entered:
        # The thread that connects may still be at it when we are cancelled; it must not start reading and pinging now.
        paho.on_socket_open = paho.on_socket_register_write = None
    try:
        if entered:
            await client.__aexit__(None, None, None)
    except aiomqtt.MqttError:
        pass  # the reason was told where messages or answers were waited for
    finally:
        ended = client._disconnected  # noqa: SLF001
        if ended.done() and not ended.cancelled():
            ended.exception()  # seen; asyncio complains about errors that nobody looked at
        paho._sock_close()  # noqa: SLF001


class _Closing(ssl.SSLSocket):
    """Closes itself when the handshake fails or lasts; paho leaves that to the garbage collector and the keep-alive time."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature is theirs
        self.settimeout(HANDSHAKE_SECONDS)  # paho makes it non-blocking afterwards
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Read anew for each connection, so that a renewed certificate is taken up. Raises Permanent."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.sslsocket_class = _Closing
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or type(error).__name__
        raise Permanent(
            f"the TLS files for {PEER} cannot be used: {reason}; check mqtt.ca_file, cert_file and key_file",
            FaultKind.CLIENT,
        ) from None
    return context


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what aiomqtt raises in the block into faults."""
    try:
        yield
    except aiomqtt.MqttError as error:
        raise _fault(error) from None  # everything worth knowing is in the fault


def _fault(error: aiomqtt.MqttError) -> Fault:
    code = _code(error)
    if code in _BAD_LOGIN:
        return Permanent(
            f"{PEER} refused our credentials: check mqtt.username, mqtt.password and the broker's access rights",
            FaultKind.AUTH,
            status=code,
        )
    if code in (_BAD_CLIENT_ID, _BANNED):
        return Permanent(f"{PEER} refused our client id: set mqtt.client_id to one that it allows", FaultKind.AUTH)
    if code in _WRONG_VERSION:
        return Permanent(f"{PEER} does not speak MQTT 5; use one that does, such as Mosquitto 2", FaultKind.CLIENT)
    if code == _TAKEN_OVER:
        return Permanent(
            "another client connected with our client id: give each its own mqtt.client_id", FaultKind.CONFLICT
        )
    if code == _CLOSED:
        # Mosquitto 2.0.11 says no more when it throws us out for another client of the same name.
        text = f"{PEER} closed the connection (if that repeats: does another client use our client id?)"
        return Transient(None, text, FaultKind.NETWORK)
    reason = _reason(error)
    hint = "; is mqtt.ca_file the authority that signed it?" if "CERTIFICATE_VERIFY_FAILED" in reason else ""
    # A certificate is renewed while we run, a name appears in the DNS: worth another try, however permanent it looks.
    return Transient(None, f"connection to {PEER} failed: {reason}{hint}", FaultKind.NETWORK)


def _refused_subscription(topic: str, answer: ReasonCode) -> Permanent:
    if answer.value == _NOT_AUTHORIZED:
        return Permanent(
            f"{PEER} lets us not read {topic}: give the user the right to, or change mqtt.topics", FaultKind.AUTH
        )
    hint = ": change mqtt.topics or mqtt.shared_group" if answer.value in _BAD_REQUEST else ""
    return Permanent(f"{PEER} refused the subscription to {topic} ({answer}){hint}", FaultKind.CLIENT)


def _code(error: BaseException | None) -> int | None:
    """The reason code of the broker within the error or its cause; None where it gave none."""
    while error is not None:
        if isinstance(error, aiomqtt.MqttCodeError) and isinstance(error.rc, ReasonCode):
            return error.rc.value
        error = error.__cause__
    return None


def _reason(error: BaseException) -> str:
    """The last cause in words; aiomqtt says only "Disconnected" at the top."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
