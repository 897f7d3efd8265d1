"""The sources' address over HTTP: each row of the table of answers, and that 202 means it is kept."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from daemon.core.notices import NoticeStatus
from daemon.ports import InboxFullError, JournalUnavailableError
from handlers.auth import Authenticator
from handlers.inbound.deployment_events import BODY_BYTES_MAX, EventsReader
from tests.handlers.events_world import DIGEST, WEB, World, plain, raw, sender, world
from tests.handlers.intake_fakes import T0

pytestmark = pytest.mark.looptime(False)

TOKEN = "the-token-of-the-pipeline"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
STRUCTURED = {**BEARER, "Content-Type": "application/cloudevents+json"}
BATCH = {**BEARER, "Content-Type": "application/cloudevents-batch+json"}


def envelope(number: int = 1, time: str = "2026-11-20T11:58:30Z") -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": f"event-{number}",
        "source": "/ci",
        "type": "dev.lastgood.deployment.failed",
        "time": time,
        "data": {"namespace": "shop", "name": "web", "digest": DIGEST},
    }


@pytest.fixture
async def here() -> AsyncIterator[World]:
    reader = EventsReader(sender("ci", may_cause=True), Authenticator(tokens={"ci": TOKEN}))
    async with world({"ci": reader}) as served:
        yield served


async def test_an_event_is_kept_before_it_is_answered(here: World) -> None:
    """202 comes after the journal has the notice, with its source's name and permission; it is counted there."""
    assert await here.send("ci", plain(), BEARER) == (202, "accepted\n")
    (notice,) = here.notices
    assert (notice.source, notice.workload, notice.may_cause) == ("ci", WEB, True)
    assert here.intake.events[0].at == T0
    assert here.counted.intakes == [("ci", "accepted")]


async def test_a_slash_at_the_end_is_the_same(here: World) -> None:
    """People type it."""
    assert (await here.send("ci/", plain(), BEARER))[0] == 202


async def test_each_binding_of_cloudevents(here: World) -> None:
    """Structured, binary and batch over HTTP are the same event."""
    binary = {f"ce-{name}": str(envelope()[name]) for name in ("specversion", "id", "source", "type", "time")}
    assert (await here.send("ci", envelope(), STRUCTURED))[0] == 202
    assert (await here.send("ci", envelope()["data"], {**BEARER, **binary}))[0] == 202
    assert (await here.send("ci", [envelope(), envelope(2)], BATCH))[0] == 202
    first, second, third, fourth = here.notices
    assert first == second == third
    assert (fourth.id, fourth.status) == ("/ci#event-2", NoticeStatus.FAILED)


async def test_a_duplicate_is_acknowledged_again(here: World) -> None:
    """The sender repeats when our answer got lost: the notice has the same key, by which the core keeps one."""
    assert [(await here.send("ci", plain(), BEARER))[0] for _ in range(2)] == [202, 202]
    assert len({notice.key for notice in here.notices}) == 1


async def test_of_a_bad_batch_nothing_is_kept(here: World) -> None:
    """All or nothing, and the refusal names the event."""
    status, text = await here.send("ci", [envelope(), {**envelope(2), "id": ""}], BATCH)
    assert (status, text) == (400, "[1].id: is missing\n")
    assert here.notices == []


async def test_what_is_of_no_interest_is_not_repeated(here: World) -> None:
    """200 and counted as ignored: the sender did nothing wrong."""
    status, text = await here.send("ci", {**envelope(), "type": "com.example.order"}, STRUCTURED)
    assert (status, text[:9]) == (200, "ignored: ")
    assert here.counted.intakes == [("ci", "ignored")]
    assert here.notices == []


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"X-Gitlab-Token": TOKEN}]
)
async def test_a_stranger_is_turned_away(here: World, headers: dict[str, str]) -> None:
    """401 with a challenge, and nothing of the body is read or kept."""
    data, given = b"{" * 100, {"Content-Type": "application/json", **headers}
    async with here.client.post("/api/v1/events/ci", data=data, headers=given) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="lastgood"'
    assert here.counted.intakes == [("ci", "unauthorized")]
    assert here.notices == []


async def test_an_unknown_source(here: World) -> None:
    """404, and its name becomes no label of a metric."""
    status, text = await here.send("nobody", plain(), BEARER)
    assert (status, text) == (404, "no source of this name is configured (events.sources)\n")
    assert here.counted.intakes == []


async def test_other_methods(here: World) -> None:
    """405: this is an address to post to."""
    async with here.client.get("/api/v1/events/ci") as answer:
        assert answer.status == 405


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body: is not JSON"),
        (raw(plain())[:-9], "body: is not JSON"),
        (b"\xff\xfe", "body: is not UTF-8"),
        (raw([plain()]), "body: must be an object, is an array"),
        (raw(plain(type="deployment.exploded")), "type: must be one of"),
        (raw(plain(time="2026-11-20T11:58:30")), "time: has no time zone"),
        (raw({**plain(), "specversion": "2.0"}), 'specversion: must be "1.0"'),
    ],
)
async def test_nonsense_is_named(here: World, body: bytes, said: str) -> None:
    """400 with the field, counted, and nothing is kept: truncated, of a wrong version, of a wrong type."""
    status, text = await here.send("ci", body, BEARER)
    assert status == 400
    assert text.startswith(said)
    assert here.counted.intakes == [("ci", "malformed")]
    assert here.notices == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [(plain(), BEARER), (envelope(), STRUCTURED), ([envelope()], BATCH)],
    ids=["plain", "one", "batch"],
)
async def test_a_replay(here: World, body: object, headers: dict[str, str]) -> None:
    """What is told again a day later is refused, and so is what lies ahead; the edge is taken."""
    at = T0 - timedelta(seconds=90)
    here.clock.at = at + timedelta(hours=24)
    assert (await here.send("ci", body, headers))[0] == 202
    here.clock.at += timedelta(seconds=1)
    status, text = await here.send("ci", body, headers)
    assert status == 400
    assert text.startswith("time: is more than 24 h ago")
    here.clock.at = at - timedelta(minutes=5, seconds=1)
    status, text = await here.send("ci", body, headers)
    assert status == 400
    assert text.startswith("time: is more than 5 minutes ahead")
    assert len(here.notices) == 1


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/cloudevents+avro"])
async def test_another_format(here: World, media: str) -> None:
    """415: `curl -d` without a content type is the usual reason, and the line says what to send."""
    status, text = await here.send("ci", plain(), {**BEARER, "Content-Type": media})
    assert status == 415
    assert text.startswith("content-type: ")
    assert here.counted.intakes == [("ci", "malformed")]


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large(here: World, chunked: bool) -> None:
    """413, by its Content-Length or as soon as the count says so."""
    body = raw(plain(description="x" * BODY_BYTES_MAX))

    async def parts() -> AsyncIterator[bytes]:
        yield body

    data = parts() if chunked else io.BytesIO(body)
    async with here.client.post("/api/v1/events/ci", data=data, headers=BEARER) as answer:
        assert answer.status == 413
    assert here.counted.intakes == [("ci", "too_large")]
    assert here.notices == []


@pytest.mark.parametrize(("fault", "result"), [(JournalUnavailableError(), "unavailable"), (InboxFullError(), "full")])
async def test_what_cannot_be_kept_is_not_acknowledged(here: World, fault: Exception, result: str) -> None:
    """503, so that it is sent again."""
    here.intake.fault = fault
    assert (await here.send("ci", plain(), BEARER))[0] == 503
    assert here.counted.intakes == [("ci", result)]
    here.intake.fault = None
    assert (await here.send("ci", plain(), BEARER))[0] == 202


async def test_an_open_source() -> None:
    """Without credentials everybody may send (`anonymous: true`, or loopback)."""
    async with world({"ci": EventsReader(sender(), None)}) as served:
        assert (await served.send("ci", plain()))[0] == 202
