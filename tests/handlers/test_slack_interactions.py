"""The public URL: nothing of a body is read before its signature holds, and nothing a stranger sends does anything."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.sandbox.vendors.slack_interactions import SentRequest, signed
from handlers.alerts import MalformedError
from handlers.inbound.slack import BODY_BYTES_MAX, READING_MAX, WINDOW_SECONDS, _payload
from handlers.slack_offers import VALUE_MAX, Button
from handlers.slack_payloads import press_of
from handlers.slack_presses import PRESSES_MAX
from tests.handlers.slack_room import ANNA, Room, room, until

FORM = "application/x-www-form-urlencoded"


async def a_press(here: Room) -> SentRequest:
    """An honest press on Approve as Slack would send it, not sent yet."""
    found = here.slack.button("Approve")
    assert found is not None
    message, action = found
    payload = here.slack.interactions.payload(action, message.shown(metadata=False), channel="C1", user=ANNA)
    return form(here, payload)


def form(here: Room, payload: Any, moment: int | None = None) -> SentRequest:
    body = urlencode({"payload": json.dumps(payload)}).encode()
    return SentRequest(body=body, headers=signed(here.slack.interactions.signing_secret, body, moment))


async def answer(here: Room, request: SentRequest) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(here.slack.interactions.request_url, data=request.body, headers=request.headers) as reply,
    ):
        return reply.status, await reply.text()


def changed(request: SentRequest, **headers: str) -> SentRequest:
    """The request with these headers changed (`_` for `-`)."""
    return SentRequest(
        body=request.body, headers=request.headers | {k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.real
async def test_an_honest_press_is_answered_empty() -> None:
    """200 and nothing else: what came of it is told to the presser alone."""
    async with room() as here:
        assert await answer(here, await a_press(here)) == (200, "")
        assert "Approved by you" in await here.answer()


@pytest.mark.real
@pytest.mark.parametrize(
    "headers",
    [
        {"X_Slack_Signature": "v0=" + "0" * 64},
        {"X_Slack_Signature": ""},
        {"X_Slack_Signature": "v1=" + "0" * 64},
        {"X_Slack_Signature": "v0=" + "é" * 64},
        {"X_Slack_Request_Timestamp": ""},
        {"X_Slack_Request_Timestamp": "now"},
        {"X_Slack_Request_Timestamp": "-1"},
        {"X_Slack_Request_Timestamp": "1e9"},
        {"X_Slack_Request_Timestamp": "٣" * 10},
        {"X_Slack_Request_Timestamp": "9" * 400},
        {"X_Slack_Request_Timestamp": "1700000000.5"},
    ],
    ids=lambda headers: next(f"{name[8:]}={value[:9]}" for name, value in headers.items()),
)
async def test_forged_headers(headers: dict[str, str]) -> None:
    """A wrong or missing signature and a timestamp that is none are 401, counted, and move nothing."""
    async with room() as here:
        status, said = await answer(here, changed(await a_press(here), **headers))
        assert status == 401
        assert "X-Slack-" in said
        assert here.taken == []
        assert here.counts.results == {"unauthorized": 1}


@pytest.mark.real
async def test_a_forged_body() -> None:
    """One byte changed after signing, another app's secret, or another moment under the same signature: 401."""
    async with room() as here:
        honest = await a_press(here)
        forged = [
            SentRequest(body=honest.body.replace(b"U0ANNA", b"U0EVEE"), headers=honest.headers),
            SentRequest(body=honest.body, headers=signed("f" * 32, honest.body)),
            changed(honest, X_Slack_Request_Timestamp=str(int(honest.headers["X-Slack-Request-Timestamp"]) + 1)),
        ]
        assert [(await answer(here, each))[0] for each in forged] == [401, 401, 401]
        assert here.taken == []


@pytest.mark.real
async def test_two_signatures_are_none() -> None:
    """A header given twice is nobody's honest request."""
    async with room() as here:
        honest = await a_press(here)
        twice = [*honest.headers.items(), ("X-Slack-Signature", "v0=" + "0" * 64)]
        async with (
            aiohttp.ClientSession() as session,
            session.post(here.slack.interactions.request_url, data=honest.body, headers=twice) as reply,
        ):
            assert reply.status == 401


@pytest.mark.real
@pytest.mark.parametrize(
    ("seconds", "status"),
    [(-WINDOW_SECONDS - 60, 401), (-WINDOW_SECONDS + 60, 200), (WINDOW_SECONDS - 60, 200), (WINDOW_SECONDS + 60, 401)],
)
async def test_the_window(seconds: int, status: int) -> None:
    """Five minutes to either side, however well it is signed."""
    async with room() as here:
        here.clock = lambda: datetime.now(tz=UTC) - timedelta(seconds=seconds)
        assert (await answer(here, await a_press(here)))[0] == status
        assert bool(here.taken) is (status == 200)


@pytest.mark.real
async def test_a_replay_is_answered_and_not_followed() -> None:
    """The same signed request again does nothing more, and tells its sender nothing."""
    async with room() as here:
        honest = await a_press(here)
        assert [(await answer(here, honest))[0] for _ in range(3)] == [200, 200, 200]
        assert len(here.taken) == 1
        assert here.counts.results == {"accepted": 1, "replayed": 2}


@pytest.mark.real
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": None}, "type"),
        ({"type": 5}, "type"),
        ({"actions": []}, "actions"),
        ({"actions": "x"}, "actions"),
        ({"actions": [5]}, "actions[0]"),
        ({"user": None}, "user"),
        ({"user": {"id": "anna"}}, "user.id"),
        ({"user": {"id": "U0ANNA\n"}}, "user.id"),
        ({"value": None}, "actions[0].value"),
        ({"value": "{"}, "actions[0].value"),
        ({"value": "[]"}, "actions[0].value"),
        ({"value": "{}"}, "actions[0].value.incident"),
        ({"value": '{"incident": "a\\u0000b"}'}, "actions[0].value.incident"),
        ({"value": '{"incident": "i"}'}, "actions[0].value.target"),
        ({"value": '{"incident": "i", "target": 5}'}, "actions[0].value.target"),
        ({"value": '{"incident": "i", "target": ""}'}, "actions[0].value.target"),
        ({"value": '{"incident": "i", "target": "t", "questions": [5]}'}, "actions[0].value.questions"),
        ({"value": "x" * (VALUE_MAX + 1)}, "actions[0].value"),
    ],
)
async def test_malformed_payloads(change: dict[str, Any], field: str) -> None:
    """Signed but no payload of Slack's: 400 with the field's name; counted, nothing done, and nothing of it is kept."""
    async with room() as here:
        action: dict[str, Any] = {"action_id": Button.APPROVE.value, "value": '{"incident": "inc-1", "target": "t"}'}
        if "value" in change:
            action, change = action | change, {}
        payload = {"type": "block_actions", "actions": [action], "user": {"id": ANNA}} | change
        status, said = await answer(here, form(here, payload))
        assert (status, said.partition(":")[0]) == (400, field)
        assert here.counts.results == {"malformed": 1}
        assert here.taken == []


@pytest.mark.real
async def test_two_presses_in_one_payload_are_none() -> None:
    """Slack sends one press at a time; of two, nobody could say which was meant."""
    async with room() as here:
        value = f'{{"incident": "{here.story.incident.id}"}}'
        actions = [{"action_id": button.value, "value": value} for button in (Button.DECLINE, Button.PAUSE)]
        payload = {"type": "block_actions", "actions": actions, "user": {"id": ANNA}}
        assert (await answer(here, form(here, payload)))[0] == 400
        assert here.taken == []


@pytest.mark.real
async def test_what_is_none_of_ours_is_ignored() -> None:
    """Shortcuts, dialogs and buttons of other messages of the app are answered with 200."""
    async with room() as here:
        others = [
            {"type": "shortcut"},
            {"type": "view_submission", "view": {}},
            {"type": "block_actions", "actions": [{"action_id": "somebody_elses", "value": "x"}], "user": {"id": ANNA}},
            {"type": "block_actions", "actions": [{"value": "x"}], "user": {"id": ANNA}},
        ]
        assert [(await answer(here, form(here, each)))[0] for each in others] == [200] * len(others)
        assert here.counts.results == {"ignored": len(others)}


@pytest.mark.real
@pytest.mark.parametrize(
    "body",
    [b"", b"payload", b"payload=%ff", b"other=1", b"payload={}&payload={}", b"&".join([b"a=1"] * 20), b"\xff\xfe"],
)
async def test_bodies_that_are_no_form(body: bytes) -> None:
    """400, whatever it is, once the signature holds."""
    async with room() as here:
        request = SentRequest(body=body, headers=signed(here.slack.interactions.signing_secret, body))
        assert (await answer(here, request))[0] == 400


@pytest.mark.real
async def test_json_in_place_of_the_form() -> None:
    """The right payload in the wrong envelope is refused by name."""
    async with room() as here:
        request = await a_press(here)
        status, said = await answer(here, changed(request, Content_Type="application/json"))
        assert status == 400
        assert "must be a form" in said


@pytest.mark.real
async def test_too_large() -> None:
    """413, by the announced length or by the count."""
    async with room() as here:
        body = b"payload=" + b"x" * BODY_BYTES_MAX
        headers = signed(here.slack.interactions.signing_secret, body)
        assert (await answer(here, SentRequest(body=body, headers=headers)))[0] == 413

        async def pieces() -> Any:
            for start in range(0, len(body), 65536):
                yield body[start : start + 65536]

        async with (
            aiohttp.ClientSession() as session,
            session.post(here.slack.interactions.request_url, data=pieces(), headers=headers) as reply,
        ):
            assert reply.status == 413
        assert here.counts.results == {"too_large": 2}


@pytest.mark.real
async def test_strangers_hold_no_more_than_their_share() -> None:
    """Bodies that never end fill only the places of this address: one more is told so, and once they are gone it works."""
    async with room() as here:
        honest, end = await a_press(here), asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"payload="
            await end.wait()

        async def stranger() -> int:
            async with (
                aiohttp.ClientSession() as session,
                session.post(here.slack.interactions.request_url, data=endless(), headers=honest.headers) as reply,
            ):
                return reply.status

        strangers = [asyncio.get_running_loop().create_task(stranger()) for _ in range(READING_MAX)]
        await until(lambda: here.door._share.reading == READING_MAX)
        assert (await answer(here, honest))[0] == 503
        end.set()
        assert set(await asyncio.gather(*strangers)) == {401}
        assert (await answer(here, honest))[0] == 200


@pytest.mark.real
async def test_a_bomb_is_counted_unpacked() -> None:
    """A packed body is taken for what it unpacks to."""
    async with room() as here:
        packed = gzip.compress(b"payload=" + b"x" * BODY_BYTES_MAX)
        headers = signed(here.slack.interactions.signing_secret, packed) | {"Content-Encoding": "gzip"}
        assert (await answer(here, SentRequest(body=packed, headers=headers)))[0] == 413


@pytest.mark.real
async def test_other_methods_are_refused() -> None:
    """Only POST."""
    async with room() as here:
        url = here.slack.interactions.request_url
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            assert reply.status == 405


@pytest.mark.real
async def test_a_flood_is_told_so() -> None:
    """More presses at once than people can make: 503, and the same request may come again."""
    async with room() as here:
        here.slack.interactions.request_url += "/"
        here.ready = "starting"
        request = await a_press(here)
        door = here.presses
        door._under_way = PRESSES_MAX
        assert (await answer(here, request))[0] == 503
        door._under_way = 0
        assert (await answer(here, request))[0] == 200
        assert here.counts.results == {"full": 1, "unavailable": 1}
        assert door._under_way == 0, "a press that is decided gives its place back"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ACTION = st.fixed_dictionaries(
    {"action_id": st.sampled_from([*Button]) | JSON, "value": st.text(max_size=60) | JSON}, optional={"type": JSON}
)
PAYLOAD = st.fixed_dictionaries(
    {"type": st.just("block_actions") | JSON, "actions": st.lists(ACTION, max_size=2) | JSON},
    optional={"user": st.fixed_dictionaries({"id": st.text() | JSON}) | JSON, "team": JSON, "response_url": JSON},
)


@given(payload=JSON | PAYLOAD)
def test_any_payload_is_a_press_or_refused(payload: Any) -> None:
    """Whatever JSON a payload holds: a press, none of ours, or MalformedError; never another failure."""
    press = None
    with suppress(MalformedError):
        press = press_of(payload)
    assert press is None or press.actor.startswith("slack:")


@given(body=st.binary(max_size=200) | st.text(max_size=80).map(lambda text: urlencode({"payload": text}).encode()))
def test_any_body_is_json_or_refused(body: bytes) -> None:
    """Whatever bytes were signed: JSON, or MalformedError."""
    found = None
    with suppress(MalformedError):
        found = _payload(FORM, body)
    assert found == json.loads(json.dumps(found))
