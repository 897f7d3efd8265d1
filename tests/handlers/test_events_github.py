"""GitHub's deployments: complete payloads as its schema has them, signatures, and everything that may be wrong with them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.notices import Notice, NoticeStatus, Origin, Vendor
from handlers.inbound.github import GitHubEvents
from tests.handlers.events_world import (
    DIGEST,
    JSON,
    WEB,
    World,
    damaged,
    hub_signature,
    payload,
    places,
    raw,
    sender,
    understood_or_refused,
    world,
)
from tests.handlers.intake_fakes import T0

pytestmark = pytest.mark.looptime(False)

SECRET = "the-secret-of-the-webhook"
SHA = "3b1f6c0de5a94f7c8d2e1b0a9f8e7d6c5b4a3921"
MAPPED = sender("hub", repository="shopfront/web", environment="production")


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world({"hub": GitHubEvents(MAPPED, SECRET)}) as served:
        yield served


def headers(event: str, body: bytes, **changes: str) -> dict[str, str]:
    """What GitHub sends along."""
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Hook-ID": "109948940",
        "X-Hub-Signature-256": hub_signature(SECRET, body),
        "User-Agent": "GitHub-Hookshot/0440e21",
        **changes,
    }


async def deliver(here: World, event: str, content: object, **changes: str) -> tuple[int, str]:
    body = content if isinstance(content, bytes) else raw(content)
    return await here.send("hub", body, headers(event, body, **changes))


def status(state: str = "success", **changes: Any) -> dict[str, Any]:
    event = payload("github_deployment_status")
    event["deployment_status"] |= {"state": state, **changes}
    return event


def deployed(**changes: Any) -> dict[str, Any]:
    event = payload("github_deployment")
    event["deployment"] |= changes
    return event


async def test_a_deployment_status(here: World) -> None:
    """Who, what, where, the log, the change, and where the pipeline hears back; the rule tells the workload."""
    assert await deliver(here, "deployment_status", raw(status()) + b"\n") == (202, "accepted\n")
    assert here.notices == [
        Notice(
            source="hub",
            id="shopfront/web#deployment#2718281#5772156",
            status=NoticeStatus.SUCCEEDED,
            at=datetime(2026, 11, 20, 11, 58, 30, tzinfo=UTC),
            workload=WEB,
            version="main",
            commit=SHA,
            author="anna",
            environment="production",
            description="Release 2026.11.20-2",
            pipeline_url="https://github.com/shopfront/web/actions/runs/1618033988/job/7",
            change_url=f"https://github.com/shopfront/web/commit/{SHA}",
            origin=Origin(vendor=Vendor.GITHUB, project="shopfront/web", deployment="2718281"),
        )
    ]


async def test_a_deployment(here: World) -> None:
    """Its creation is its start; the run that deploys is its pipeline."""
    assert (await deliver(here, "deployment", deployed()))[0] == 202
    (notice,) = here.notices
    assert (notice.status, notice.id) == (NoticeStatus.STARTED, "shopfront/web#deployment#2718281")
    assert notice.pipeline_url == "https://github.com/shopfront/web/actions/runs/1618033988"
    assert notice.at == datetime(2026, 11, 20, 11, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("in_progress", NoticeStatus.STARTED),
        ("success", NoticeStatus.SUCCEEDED),
        ("failure", NoticeStatus.FAILED),
        ("error", NoticeStatus.FAILED),
        ("pending", None),
        ("queued", None),
        ("waiting", None),
        ("inactive", None),
        ("invented_later", None),
    ],
)
async def test_states(here: World, state: str, expected: NoticeStatus | None) -> None:
    """Those that say what becomes of the rollout; the rest is of no interest, and no fault."""
    code, _ = await deliver(here, "deployment_status", status(state))
    assert code == (200 if expected is None else 202)
    assert [notice.status for notice in here.notices] == ([] if expected is None else [expected])


@pytest.mark.parametrize("as_text", [False, True])
async def test_our_own_words_in_the_payload(here: World, as_text: bool) -> None:
    """`deployment.payload.lastgood`, as an object or as JSON in a string, names workload and artefact over any rule."""
    said: Any = {
        "lastgood": {"workload": "shop/cart", "image": "ghcr.io/shop/cart:v3", "digest": DIGEST, "irreversible": True}
    }
    assert (await deliver(here, "deployment", deployed(payload=json.dumps(said) if as_text else said)))[0] == 202
    (notice,) = here.notices
    assert notice.workload is not None
    assert (notice.workload.short, notice.images, notice.digests) == ("shop/cart", ("ghcr.io/shop/cart:v3",), (DIGEST,))
    assert notice.irreversible


@pytest.mark.parametrize("other", ["", "v2 please", "[1]", '{"x": 1}', {"x": 1}, None, [1], "\ud800"])
async def test_a_payload_of_others_is_left_alone(here: World, other: object) -> None:
    """The field is free: what is not ours is not judged."""
    assert (await deliver(here, "deployment", deployed(payload=other)))[0] == 202
    assert here.notices[0].workload == WEB


async def test_our_own_words_win(here: World) -> None:
    """Who wrote them meant them: they stand over what is made out of the rest; what they leave out is taken from there."""
    change = "https://git.example/shop/web/merge/77"
    said = {"lastgood": {"change_url": change, "description": "Faster cart", "version": "v2"}}
    assert (await deliver(here, "deployment_status", {**status(), "deployment": deployed(payload=said)["deployment"]}))[
        0
    ] == 202
    (notice,) = here.notices
    assert (notice.change_url, notice.description, notice.version) == (change, "Faster cart", "v2")
    assert (notice.commit, notice.environment, notice.workload) == (SHA, "production", WEB)


async def test_our_own_words_misspelt(here: World) -> None:
    """What is ours is judged, by its path."""
    code, text = await deliver(here, "deployment", deployed(payload={"lastgood": {"irreversibel": True}}))
    assert code == 400
    assert text.startswith("deployment.payload.lastgood.'irreversibel': is unknown")


async def test_our_own_answer_is_no_news(here: World) -> None:
    """After a rollback we set the status to failure, and GitHub tells us: that must not look like a failed pipeline."""
    words = "Rolled back by Lastgood (prod, inc-20261120-120000-1)"
    assert (await deliver(here, "deployment_status", status("failure", description=words)))[0] == 200
    assert here.notices == []


async def test_what_no_rule_knows(here: World) -> None:
    """An organisation's webhook tells of every repository."""
    event = status()
    event["repository"]["full_name"] = "shopfront/other"
    assert (await deliver(here, "deployment_status", event))[0] == 200
    assert here.notices == []


@pytest.mark.parametrize("event", ["ping", "push", "deployment_review", "installation"])
async def test_other_events(here: World, event: str) -> None:
    """`ping` comes when the webhook is made and must succeed; the others are of no interest."""
    assert (await deliver(here, event, payload("github_ping")))[0] == 200
    assert here.counted.intakes == [("hub", "ignored")]


async def test_another_action(here: World) -> None:
    """GitHub knows only `created` today."""
    assert (await deliver(here, "deployment", {**deployed(), "action": "edited"}))[0] == 200


async def test_a_form(here: World) -> None:
    """A webhook left at GitHub's default sends a form; the signature covers the form as sent."""
    body = urlencode({"payload": json.dumps(status())}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await deliver(here, "deployment_status", body, **form))[0] == 202
    for broken in (b"payload=%7B", b"x=1", b"payload={}&payload={}", b"\xff", b"&" * 100):
        assert (await deliver(here, "deployment_status", broken, **form))[0] == 400
    assert len(here.notices) == 1


async def test_another_content_type(here: World) -> None:
    """415 with the remedy."""
    code, text = await deliver(here, "deployment", deployed(), **{"Content-Type": "text/xml"})
    assert (code, text) == (415, "content-type: must be application/json: choose it in the webhook's settings\n")


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        hub_signature("another-secret", raw(status())),
        hub_signature(SECRET, raw(status("failure"))),
        hub_signature(SECRET, raw(status())).removeprefix("sha256="),
        hub_signature(SECRET, raw(status())).replace("sha256", "sha1"),
        "sha256=ü",
    ],
)
async def test_forged(here: World, signature: str) -> None:
    """401 for each signature that is not that of exactly this body with our secret."""
    code, text = await deliver(here, "deployment_status", status(), **{"X-Hub-Signature-256": signature})
    assert code == 401
    assert text.startswith("X-Hub-Signature-256 does not match")
    assert here.notices == []
    assert here.counted.intakes == [("hub", "unauthorized")]


async def test_unsigned(here: World) -> None:
    """401 before the body is read, with the remedy; the old SHA-1 header is none."""
    body = raw(status())
    given = headers("deployment_status", body)
    del given["X-Hub-Signature-256"]
    code, text = await here.send(
        "hub", body, {**given, "X-Hub-Signature": "sha1=00", "Authorization": f"Bearer {SECRET}"}
    )
    assert (code, "is missing: give the webhook" in text) == (401, True)


async def test_the_signature_comes_before_everything(here: World) -> None:
    """Of a forged body nothing is looked at: no 400 tells a stranger how it was read."""
    assert (await here.send("hub", b"{", {"X-GitHub-Event": "deployment", "X-Hub-Signature-256": "sha256=0"}))[0] == 401


async def test_replayed_under_another_delivery_id(here: World) -> None:
    """The id of a delivery is not signed: whoever caught one and changes it has told nothing new."""
    for delivery in ("a", "b"):
        await deliver(here, "deployment_status", status(), **{"X-GitHub-Delivery": delivery})
    assert len({notice.key for notice in here.notices}) == 1


async def test_replayed_after_days(here: World) -> None:
    """GitHub redelivers for three days; later it is a replay, with the field's name."""
    here.clock.at = T0 + timedelta(days=3)
    assert (await deliver(here, "deployment_status", status()))[0] == 202
    here.clock.at = T0 + timedelta(days=3, hours=1)
    code, text = await deliver(here, "deployment_status", status())
    assert (code, text[:50]) == (400, "deployment_status.created_at: is more than 73 h ag")


@pytest.mark.parametrize(
    ("place", "by", "said"),
    [
        (("deployment",), None, "deployment: is missing"),
        (("deployment_status",), [], "deployment_status: must be an object, is an array"),
        (("deployment_status", "state"), 5, "deployment_status.state: must be a string, is a number"),
        (("deployment_status", "id"), "5", "deployment_status.id: must be a whole number"),
        (("deployment_status", "created_at"), 1763639910, "deployment_status.created_at: must be a string"),
        (("deployment", "id"), None, "deployment.id: is missing"),
        (("deployment", "id"), True, "deployment.id: must be a whole number"),
        (("deployment", "creator"), "anna", "deployment.creator: must be an object, is a string"),
        (("repository",), None, "repository: is missing"),
        (("repository", "full_name"), "../../orgs", "repository.full_name: must be owner/repository"),
        (("repository", "full_name"), "a/..", "repository.full_name: must be owner/repository"),
        (("action",), 1, "action: must be a string, is a number"),
    ],
)
async def test_each_fault_is_named(here: World, place: tuple[str, ...], by: object, said: str) -> None:
    """400 with the path; a project's name goes into an address later, so nothing but a name is taken."""
    code, text = await deliver(here, "deployment_status", damaged(status(), place, by))
    assert code == 400
    assert text.startswith(said)
    assert here.notices == []


async def test_truncated_and_oversized(here: World) -> None:
    """Signed or not: half a body is malformed, a huge one is not read."""
    assert (await deliver(here, "deployment", raw(deployed())[:-20]))[0] == 400
    assert (await deliver(here, "deployment", deployed(description="x" * 2**21)))[0] == 413
    assert here.notices == []


async def test_without_its_event_header(here: World) -> None:
    """400 and a guess at the reason."""
    body = raw(deployed())
    given = headers("deployment", body)
    del given["X-GitHub-Event"]
    assert await here.send("hub", body, given) == (400, "X-GitHub-Event: is missing: is this a webhook of GitHub?\n")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(places(payload("github_deployment_status"))), JSON)
def test_any_json_in_any_place_is_understood_or_refused(place: tuple[str | int, ...], by: object) -> None:
    """Nonsense at each place of the payload."""
    given = CIMultiDictProxy(CIMultiDict({"X-GitHub-Event": "deployment_status"}))
    body = raw(damaged(payload("github_deployment_status"), place, by))
    understood_or_refused(lambda: GitHubEvents(MAPPED, None).read(given, body, T0))
