"""Flagger's events: payloads as its hooks send them, the token in their metadata, and everything that may be wrong with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.model import Workload
from daemon.core.notices import Notice, NoticeStatus
from handlers.inbound.flagger import BODY_BYTES_MAX, CanaryHook, FlaggerEvents
from tests.handlers.events_world import (
    JSON,
    WEB,
    World,
    damaged,
    payload,
    places,
    raw,
    sender,
    understood_or_refused,
    world,
)
from tests.handlers.intake_fakes import T0

pytestmark = pytest.mark.looptime(False)

TOKEN = "the-token-of-the-canaries"
CART = Workload(namespace="shop", kind="Deployment", name="cart")


@pytest.fixture
async def here() -> AsyncIterator[World]:
    sources = {
        "canaries": FlaggerEvents(CanaryHook(sender("canaries"), TOKEN)),
        "mapped": FlaggerEvents(CanaryHook(sender("mapped", service="Canary shop/front"), TOKEN)),
        "open": FlaggerEvents(CanaryHook(sender("open"), None)),
    }
    async with world(sources) as served:
        yield served


def event(phase: str = "Progressing", message: str | None = None, **changes: Any) -> dict[str, Any]:
    """A hook of type `event`; a change to None leaves a key of the metadata out."""
    content = {**payload("flagger_event"), "phase": phase}
    metadata = content["metadata"] | ({} if message is None else {"eventMessage": message}) | changes
    return {**content, "metadata": {key: value for key, value in metadata.items() if value is not None}}


def ended(phase: str, **changes: Any) -> dict[str, Any]:
    """A hook of type `post-rollout`: the user's metadata alone."""
    return event(phase, **({"eventMessage": None, "eventType": None, "timestamp": None} | changes))


async def test_an_event(here: World) -> None:
    """What Flagger says of the canary, about the workload of its name; the token goes nowhere."""
    assert await here.send("canaries", event()) == (202, "accepted\n")
    assert here.notices == [
        Notice(
            source="canaries",
            id="shop#web#85d557f47b#started",
            status=NoticeStatus.STARTED,
            at=datetime(2026, 11, 20, 11, 58, 30, tzinfo=UTC),
            workload=WEB,
            description="Starting canary analysis for web.shop",
        )
    ]
    assert TOKEN not in repr(here.notices)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (event("Progressing", eventType="Warning"), NoticeStatus.STARTED),
        (event("Finalising"), NoticeStatus.SUCCEEDED),
        (event("Finalising", eventType="Warning"), None),
        (event("Succeeded"), NoticeStatus.SUCCEEDED),
        (event("Succeeded", eventType="Warning"), None),
        (event("Failed", "Canary failed! Scaling down web.shop", eventType="Warning"), NoticeStatus.ROLLED_BACK),
        (ended("Succeeded"), NoticeStatus.SUCCEEDED),
        (ended("Failed"), NoticeStatus.ROLLED_BACK),
        *(
            (event(phase), None)
            for phase in ("Initializing", "Initialized", "Waiting", "WaitingPromotion", "Promoting")
        ),
        *((event(phase), None) for phase in ("Terminating", "Terminated", "InventedLater")),
    ],
)
async def test_phases(here: World, content: dict[str, Any], expected: NoticeStatus | None) -> None:
    """Those that say what becomes of the canary; the rest is of no interest, and answered 200, a success to Flagger."""
    code, _ = await here.send("canaries", content)
    assert code == (200 if expected is None else 202)
    assert [notice.status for notice in here.notices] == ([] if expected is None else [expected])


async def test_a_post_rollout_hook_is_told_as_it_happens(here: World) -> None:
    """It says no time, and no message."""
    assert (await here.send("canaries", ended("Failed")))[0] == 202
    assert (here.notices[0].at, here.notices[0].description) == (T0, "Flagger: canary shop/web failed")


async def test_a_rollback_hook_at_the_wrong_address(here: World) -> None:
    """A 2xx would roll the canary back: what carries no event gets 400 in every phase that Flagger asks in, and the remedy."""
    for phase in ("Progressing", "Waiting", "WaitingPromotion"):
        for content in (ended(phase), ended(phase, timestamp="1795175910000")):
            code, text = await here.send("canaries", content)
            assert code == 400
            assert text.startswith(
                "metadata.eventMessage: is missing: this address is for hooks of type event and post-"
            )
    assert here.notices == []


async def test_each_outcome_once_per_revision(here: World) -> None:
    """Twenty steps are one start; the end is told by several hooks and is one end; another revision is another start."""
    for second in range(10, 30):
        await here.send("canaries", event(message="Advance", timestamp=f"17951759{second}000"))
    for content in (event("Finalising"), event("Succeeded"), ended("Succeeded")):
        await here.send("canaries", content)
    await here.send("canaries", {**event(), "checksum": "6b7c8d9e0f"})
    ids = ["shop#web#85d557f47b#started", "shop#web#85d557f47b#succeeded", "shop#web#6b7c8d9e0f#started"]
    assert list(dict.fromkeys(notice.id for notice in here.notices)) == ids


async def test_of_older_releases(here: World) -> None:
    """Without a checksum the time tells events apart; fields of later releases are no fault."""
    old = event()
    del old["checksum"]
    assert (await here.send("canaries", old))[0] == 202
    assert here.notices[0].id == "shop#web#2026-11-20T11:58:30+00:00#started"
    assert (await here.send("canaries", {**event(), "buildId": "7", "canaryWeight": 20, "type": "event"}))[0] == 202


async def test_the_target(here: World) -> None:
    """`metadata.workload`, else a rule, else the Canary's name; not across namespaces."""
    front = {**event(), "name": "front"}
    for source, content in (("canaries", event(workload="shop/cart")), ("canaries", front), ("mapped", front)):
        assert (await here.send(source, content))[0] == 202
    assert [notice.workload for notice in here.notices] == [
        CART,
        Workload(namespace="shop", kind="Deployment", name="front"),
        WEB,
    ]
    code, text = await here.send("canaries", event(workload="bank/cart"))
    assert (code, text) == (400, "metadata.workload: is in another namespace than the Canary\n")


@pytest.mark.parametrize(
    "token", [None, "", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), 5, ["x"], {"a": TOKEN}, "ü", "\ud800"]
)
async def test_forged(here: World, token: object) -> None:
    """401 for every token but the right one, with the remedy and without the token."""
    code, text = await here.send("canaries", event(token=token))
    assert (code, text.startswith("metadata.token is missing or wrong: give the Canary's webhook")) == (401, True)
    assert (here.notices, here.counted.intakes) == ([], [("canaries", "unauthorized")])


async def test_the_token_stands_in_the_metadata_alone(here: World) -> None:
    """Not in the address, which Flagger writes into its events when a hook fails; nor in a header, which it cannot send."""
    for path, headers in ((f"canaries?token={TOKEN}", {}), ("canaries", {"Authorization": f"Bearer {TOKEN}"})):
        assert (await here.send(path, event(token=None), headers))[0] == 401


async def test_the_token_comes_before_everything(here: World) -> None:
    """Of a stranger's hook nothing but its token is looked at."""
    assert (await here.send("canaries", {"metadata": {"timestamp": "x"}, "phase": 5}))[0] == 401
    assert (await here.send("canaries", {}))[0] == 401


async def test_replayed(here: World) -> None:
    """After an hour an event is a replay; one ahead of our clock is none of now. The same one again is the same notice."""
    for _ in range(2):
        assert (await here.send("canaries", event()))[0] == 202
    assert len({notice.key for notice in here.notices}) == 1
    for at, said in ((timedelta(hours=1), "is more than 1 h ago"), (-timedelta(minutes=10), "is more than 5 minutes")):
        here.clock.at = T0 + at
        code, text = await here.send("canaries", event())
        assert code == 400
        assert text.startswith(f"metadata.timestamp: {said}")


@pytest.mark.parametrize(
    ("place", "by", "said"),
    [
        (("name",), None, "name: is missing"),
        (("name",), "Web", "name: and namespace are no names of a Kubernetes object"),
        (("namespace",), None, "namespace: is missing"),
        (("namespace",), "shop/Deployment", "name: and namespace are no names"),
        (("phase",), None, "phase: is missing"),
        (("phase",), 5, "phase: must be a string, is a number"),
        (("checksum",), 5, "checksum: must be a string, is a number"),
        (("metadata", "timestamp"), None, "metadata.timestamp: is missing"),
        (("metadata", "timestamp"), 1795175910000, "metadata.timestamp: must be a string, is a number"),
        (("metadata", "timestamp"), "2026-11-20T11:58:30Z", "metadata.timestamp: must be a Unix time in milliseconds"),
        (("metadata", "timestamp"), "9" * 400, "metadata.timestamp: has 400 characters"),
        (("metadata", "eventMessage"), [], "metadata.eventMessage: must be a string, is an array"),
        (("metadata", "workload"), "cart", "metadata.workload: is no workload; write it as namespace/name"),
    ],
)
async def test_each_fault_is_named(here: World, place: tuple[str, ...], by: object, said: str) -> None:
    """400 with the path."""
    code, text = await here.send("canaries", damaged(event(), place, by))
    assert code == 400
    assert text.startswith(said)
    assert here.notices == []


async def test_truncated_oversized_and_of_another_type(here: World) -> None:
    """Half a body is malformed, one that no hook has is not parsed, a form is not guessed at; what is no object has no token."""
    assert (await here.send("canaries", raw(event())[:-20]))[0] == 400
    assert (await here.send("canaries", event(more="x" * BODY_BYTES_MAX)))[0] == 413
    assert (await here.send("canaries", event(more="x" * 2**21)))[0] == 413
    assert (await here.send("canaries", event(), {"Content-Type": "text/xml"}))[0] == 415
    assert (await here.send("canaries", {**event(), "metadata": "x"}))[0] == 400
    assert here.notices == []


async def test_without_credentials(here: World) -> None:
    """For trying out on loopback: nothing is asked."""
    assert (await here.send("open", event(token=None)))[0] == 202


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["Progressing", "Failed"]), st.data())
def test_any_json_in_any_place_is_understood_or_refused(phase: str, data: st.DataObject) -> None:
    """Nonsense at each place of the payload."""
    content = event(phase)
    body = raw(damaged(content, data.draw(st.sampled_from(places(content))), data.draw(JSON)))
    headers = CIMultiDictProxy(CIMultiDict[str]())
    understood_or_refused(lambda: FlaggerEvents(CanaryHook(sender(), None)).read(headers, body, T0))
