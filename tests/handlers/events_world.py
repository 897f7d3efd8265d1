"""The deployment events' address with its ports, senders and signatures, and what vendors send to it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from hypothesis import strategies as st

from daemon.core.events import Noticed
from daemon.core.model import Workload
from daemon.core.notices import Notice
from daemon.runtime.codec import dump_event, load_event
from handlers.alerts import MalformedError
from handlers.inbound.deployment_events import DeploymentEvents, SourceReader
from handlers.notice_mapping import Mapping as Rule
from handlers.notice_mapping import Sender
from handlers.server import ServerLimits, build_app
from tests.handlers.intake_fakes import T0, Counted, Hands, Kept

PAYLOADS = Path(__file__).parent / "payloads"
WEB = Workload(namespace="shop", kind="Deployment", name="web")
DIGEST = f"sha256:{'0b31b1c02ff458ad' * 4}"
OTHER_DIGEST = f"sha256:{'9f' * 32}"


def sender(name: str = "ci", *, may_cause: bool = False, cluster: str | None = None, **match: str) -> Sender:
    """A sender whose events that match speak of shop/web; none do without `match`."""
    rules = (Rule(source=None, match=tuple(match.items()), workload=WEB),) if match else ()
    return Sender(name=name, may_cause=may_cause, mappings=rules, cluster=cluster)


def payload(name: str) -> dict[str, Any]:
    """A complete payload, as the vendor's schema has it."""
    found: dict[str, Any] = json.loads((PAYLOADS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def plain(**changes: Any) -> dict[str, Any]:
    """Our plain JSON; a change to None leaves the field out."""
    event = {
        "id": "run-512",
        "source": "jenkins/web",
        "type": "deployment.finished",
        "time": "2026-11-20T11:58:30Z",
        "namespace": "shop",
        "name": "web",
        **changes,
    }
    return {name: value for name, value in event.items() if value is not None}


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


def hub_signature(secret: str, body: bytes) -> str:
    """X-Hub-Signature-256, computed here again, apart from the code under test."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard_signature(key: bytes, id_: str, timestamp: int | str, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks."""
    mac = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


class World:
    """The address and what became of what was sent to it."""

    def __init__(self, client: TestClient[Any, Any], intake: Kept, counted: Counted, clock: Hands) -> None:
        self.client = client
        self.intake = intake
        self.counted = counted
        self.clock = clock

    @property
    def notices(self) -> list[Notice]:
        found = []
        for event in self.intake.events:
            assert isinstance(event, Noticed)
            found.append(event.notice)
        return found

    async def send(self, source: str, body: object, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status and text of the answer."""
        data = body if isinstance(body, bytes) else raw(body)
        given = {"Content-Type": "application/json", **(headers or {})}
        async with self.client.post(f"/api/v1/events/{source}", data=io.BytesIO(data), headers=given) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def world(sources: Mapping[str, SourceReader], at: datetime = T0) -> AsyncIterator[World]:
    """The address is served; its clock stands at `at`."""
    intake, counted, clock = Kept(), Counted(), Hands(at)
    events = DeploymentEvents(intake=intake, clock=clock, telemetry=counted, sources=sources)
    app = build_app(routes=events.routes(), limits=ServerLimits())
    async with TestClient(TestServer(app)) as client:
        yield World(client, intake, counted, clock)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a payload."""
    found = [path] if path else []
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def damaged(value: object, place: tuple[str | int, ...], by: object) -> Any:
    """A copy with something else at that place."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = by
    return copy


def understood_or_refused(read: Callable[[], tuple[Notice, ...]]) -> None:
    """Nothing but MalformedError comes out; its one line is printable, and what is taken comes back from the journal."""
    refusal: MalformedError | None = None
    notices: tuple[Notice, ...] = ()
    try:
        notices = read()
    except MalformedError as error:
        refusal = error
    if refusal is not None:
        assert refusal.field
        assert str(refusal).isprintable()
    for notice in notices:
        event = Noticed(at=T0, notice=notice)
        assert load_event(dump_event(event)) == event
