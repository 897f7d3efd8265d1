"""GitLab's deployment and pipeline events: complete payloads, both ways to prove the sender, and what may be wrong."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.notices import Notice, NoticeStatus, Origin, Vendor
from handlers.inbound.gitlab import GitLabEvents
from tests.handlers.events_world import (
    JSON,
    WEB,
    World,
    damaged,
    payload,
    places,
    raw,
    sender,
    standard_signature,
    understood_or_refused,
    world,
)
from tests.handlers.intake_fakes import T0

pytestmark = pytest.mark.looptime(False)

TOKEN = "the-secret-token-of-the-webhook"
KEY = b"the key of the signing token 32b"
SIGNING = f"whsec_{base64.b64encode(KEY).decode()}"
SHA = "3b1f6c0de5a94f7c8d2e1b0a9f8e7d6c5b4a3921"
SITE = "https://gitlab.example/shop/front/web"
MAPPED = sender("lab", repository="shop/front/web")
NOW = int(T0.timestamp())


@pytest.fixture
async def here() -> AsyncIterator[World]:
    """One source per way: the secret token, the signing token, and both while moving over."""
    sources = {
        "old": GitLabEvents(MAPPED, token=TOKEN, signing_token=None),
        "new": GitLabEvents(MAPPED, token=None, signing_token=SIGNING),
        "both": GitLabEvents(MAPPED, token=TOKEN, signing_token=SIGNING),
    }
    async with world(sources) as served:
        yield served


def hook(event: str = "Deployment Hook", **changes: str) -> dict[str, str]:
    """What GitLab sends along."""
    return {
        "X-Gitlab-Event": event,
        "X-Gitlab-Token": TOKEN,
        "X-Gitlab-Instance": "https://gitlab.example",
        "X-Gitlab-Webhook-UUID": "02affd2d-2cba-4033-917d-ec22d5dc4b38",
        "Idempotency-Key": "7b9d4b2c-9c33-4f6c-8a3c-2f8a2d1d0c11",
        "User-Agent": "GitLab/18.5.0",
        **changes,
    }


def deployed(**changes: Any) -> dict[str, Any]:
    return {**payload("gitlab_deployment"), **changes}


def signed(body: bytes, at: int = NOW, key: bytes = KEY) -> dict[str, str]:
    given = hook(**standard_signature(key, "msg_2LJJ", at, body))
    del given["X-Gitlab-Token"]
    return given


async def test_a_deployment(here: World) -> None:
    """Who, what, where, the job, the change, and where the pipeline hears back; its odd time is read right."""
    assert await here.send("old", deployed(), hook()) == (202, "accepted\n")
    assert here.notices == [
        Notice(
            source="lab",
            id="shop/front/web#deployment#15#success#2026-11-20T11:58:30+00:00",
            status=NoticeStatus.SUCCEEDED,
            at=datetime(2026, 11, 20, 11, 58, 30, tzinfo=UTC),
            workload=WEB,
            version="main",
            commit=SHA,
            author="anna",
            environment="production",
            description="Faster cart",
            pipeline_url=f"{SITE}/-/jobs/796",
            change_url=f"{SITE}/-/commit/{SHA}",
            origin=Origin(vendor=Vendor.GITLAB, project="shop/front/web", deployment="15"),
        )
    ]


async def test_a_deployment_by_the_api(here: World) -> None:
    """It has no job: `deployable_url` is null; without the commit's address the short hash must do."""
    event = deployed(deployable_id=None, deployable_url=None, commit_url=None, ref=None)
    assert (await here.send("old", event, hook()))[0] == 202
    assert (here.notices[0].pipeline_url, here.notices[0].commit) == (None, SHA[:8])


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("running", NoticeStatus.STARTED),
        ("success", NoticeStatus.SUCCEEDED),
        ("failed", NoticeStatus.FAILED),
        ("canceled", None),
        ("blocked", None),
        ("invented_later", None),
    ],
)
async def test_statuses(here: World, status: str, expected: NoticeStatus | None) -> None:
    """Those that say what becomes of the rollout; the rest is of no interest, and no fault."""
    code, _ = await here.send("old", deployed(status=status), hook())
    assert code == (200 if expected is None else 202)
    assert [notice.status for notice in here.notices] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-20 13:58:30 +0200",
        "2026-11-20 11:58:30 UTC",
        "2026-11-20 06:28:30 -0530",
        "2026-11-20T11:58:30Z",
        "2026-11-20T12:58:30.000+01:00",
    ],
)
async def test_times(here: World, written: str) -> None:
    """Both of GitLab's own ways, and the standard one."""
    assert (await here.send("old", deployed(status_changed_at=written), hook()))[0] == 202
    assert here.notices[0].at == datetime(2026, 11, 20, 11, 58, 30, tzinfo=UTC)


async def test_a_pipeline(here: World) -> None:
    """Each job that deploys gives a notice of its own; builds, manual jobs not yet run and stop actions give none."""
    assert (await here.send("old", payload("gitlab_pipeline"), hook("Pipeline Hook")))[0] == 202
    told = {(notice.environment, notice.status, notice.id) for notice in here.notices}
    assert told == {
        ("staging", NoticeStatus.SUCCEEDED, "shop/front/web#job#802#succeeded"),
        ("production", NoticeStatus.FAILED, "shop/front/web#job#803#failed"),
        ("canary", NoticeStatus.STARTED, "shop/front/web#job#804#started"),
    }
    production = next(notice for notice in here.notices if notice.environment == "production")
    assert (production.commit, production.author, production.version) == (SHA, "anna", "main")
    assert production.pipeline_url == f"{SITE}/-/jobs/803"
    assert production.change_url == f"{SITE}/-/commit/{SHA}"
    assert production.at == datetime(2026, 11, 20, 11, 58, tzinfo=UTC)
    assert production.origin is None


async def test_old_jobs_of_a_pipeline_do_not_spoil_it(here: World) -> None:
    """A manual job may run days after the others, which every event of its pipeline still lists."""
    event = payload("gitlab_pipeline")
    event["builds"][1] |= {"started_at": "2026-11-10 11:52:10 UTC", "finished_at": "2026-11-10 11:54:00 UTC"}
    assert (await here.send("old", event, hook("Pipeline Hook")))[0] == 202
    assert {notice.environment for notice in here.notices} == {"production", "canary"}


async def test_a_pipeline_told_again(here: World) -> None:
    """Each change of a pipeline's status lists all jobs again: what was told has the same identity."""
    for status in ("running", "failed"):
        event = payload("gitlab_pipeline")
        event["object_attributes"]["status"] = status
        await here.send("old", event, hook("Pipeline Hook"))
    assert (len(here.notices), len({notice.key for notice in here.notices})) == (6, 3)


@pytest.mark.parametrize("kind", ["push", "build", "merge_request", "feature_flag"])
async def test_other_events(here: World, kind: str) -> None:
    """A webhook may have more boxes ticked than needed."""
    assert (await here.send("old", {"object_kind": kind}, hook()))[0] == 200
    assert here.counted.intakes == [("old", "ignored")]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], f"{TOKEN}x", "ü"])
async def test_a_wrong_secret_token(here: World, token: str | None) -> None:
    """401 before the body is read."""
    given = hook()
    del given["X-Gitlab-Token"]
    if token is not None:
        given["X-Gitlab-Token"] = token
    code, text = await here.send("old", b"{", given)
    assert (code, text[:15]) == (401, "X-Gitlab-Token ")
    assert here.counted.intakes == [("old", "unauthorized")]


async def test_signed_as_standard_webhooks(here: World) -> None:
    """Id, timestamp and the body as sent are signed; several signatures may be sent while the token is being changed."""
    body = raw(deployed()) + b"\n"
    assert (await here.send("new", body, signed(body)))[0] == 202
    given = signed(body)
    given["webhook-signature"] = f"v1a,xxxx v1,{'A' * 43}= {given['webhook-signature']}"
    assert (await here.send("new", body, given))[0] == 202


@pytest.mark.parametrize(
    "forge",
    [
        lambda body: signed(body, key=b"another key"),
        lambda body: signed(body + b" "),
        lambda body: {**signed(body), "webhook-id": "msg_other"},
        lambda body: {**signed(body), "webhook-timestamp": str(NOW + 1)},
        lambda body: {**signed(body), "webhook-signature": signed(body)["webhook-signature"].replace("v1,", "v2,")},
        lambda body: {**signed(body), "webhook-signature": ""},
        lambda body: {name: value for name, value in signed(body).items() if name != "webhook-id"},
        lambda body: {name: value for name, value in signed(body).items() if name != "webhook-signature"},
        lambda body: hook(),
    ],
)
async def test_forged(here: World, forge: Any) -> None:
    """Each part is covered, and the secret token does not stand in for the signature."""
    body = raw(deployed())
    assert (await here.send("new", body, forge(body)))[0] == 401
    assert here.notices == []


@pytest.mark.parametrize(("seconds", "code"), [(0, 202), (300, 202), (301, 401), (-300, 202), (-301, 401)])
async def test_a_signature_is_good_for_five_minutes(here: World, seconds: int, code: int) -> None:
    """Then a caught delivery is worth nothing; clocks may differ either way."""
    body = raw(deployed(status_changed_at="2026-11-20 11:50:00 UTC"))
    assert (await here.send("new", body, signed(body, at=NOW - seconds)))[0] == code


@pytest.mark.parametrize("timestamp", ["", "x", "-1", "1e9", "٣", "9" * 30])
async def test_a_timestamp_that_is_none(here: World, timestamp: str) -> None:
    """Even where it was signed so."""
    body = raw(deployed())
    given = {**hook(), **standard_signature(KEY, "msg_2LJJ", timestamp, body)}
    code, text = await here.send("new", body, given)
    assert (code, text[:17]) == (401, "webhook-timestamp")


async def test_moving_over(here: World) -> None:
    """With both configured either is enough, but a wrong signature is never saved by the token beside it."""
    body = raw(deployed())
    assert (await here.send("both", body, hook()))[0] == 202
    assert (await here.send("both", body, signed(body)))[0] == 202
    assert (await here.send("both", body, {**hook(), **signed(body, key=b"another")}))[0] == 401


async def test_told_twice(here: World) -> None:
    """A retry, and a replay within the window under another id, tell nothing new."""
    body = raw(deployed())
    await here.send("new", body, signed(body))
    await here.send("new", body, {**signed(body), "Idempotency-Key": "other"})
    assert len({notice.key for notice in here.notices}) == 1


async def test_one_webhook_tells_many_deployments(here: World) -> None:
    """X-Gitlab-Webhook-UUID is the webhook's own and the same each time: it must not make two deployments one."""
    for number in (15, 16):
        await here.send("old", deployed(deployment_id=number), hook())
    assert len({notice.key for notice in here.notices}) == 2


async def test_replayed_after_days(here: World) -> None:
    """The secret token proves no time: the event's own must be of the last three days."""
    here.clock.at = T0 + timedelta(days=3)
    code, text = await here.send("old", deployed(), hook())
    assert (code, text[:45]) == (400, "status_changed_at: is more than 72 h ago: a r")


@pytest.mark.parametrize(
    ("place", "by", "said"),
    [
        (("object_kind",), None, "object_kind: is missing"),
        (("object_kind",), 1, "object_kind: must be a string, is a number"),
        (("status",), None, "status: is missing"),
        (("status_changed_at",), None, "status_changed_at: is missing"),
        (("status_changed_at",), "2026-11-20 25:00:00 +0200", "status_changed_at: is no RFC 3339 time"),
        (("status_changed_at",), "2026-11-20 11:58:30", "status_changed_at: has no time zone"),
        (("deployment_id",), "15", "deployment_id: must be a whole number"),
        (("deployment_id",), 0, "deployment_id: must be a whole number"),
        (("project",), None, "project: is missing"),
        (("project", "path_with_namespace"), "../admin", "project.path_with_namespace: must be group/project"),
        (("project", "path_with_namespace"), "shop/../admin", "project.path_with_namespace: must be group/project"),
        (("user",), "anna", "user: must be an object, is a string"),
        (("environment",), {}, "environment: must be a string, is an object"),
    ],
)
async def test_each_fault_is_named(here: World, place: tuple[str, ...], by: object, said: str) -> None:
    """400 with the path."""
    code, text = await here.send("old", damaged(deployed(), place, by), hook())
    assert code == 400
    assert text.startswith(said)


@pytest.mark.parametrize(
    ("place", "by", "said"),
    [
        (("builds",), {}, "builds: must be an array, is an object"),
        (("builds", 1), 5, "builds[1]: must be an object, is a number"),
        (("builds", 2, "environment"), "production", "builds[2].environment: must be an object, is a string"),
        (("builds", 2, "finished_at"), None, "builds[2].finished_at: is missing"),
        (("builds", 2, "id"), None, "builds[2].id: is missing"),
        (("object_attributes",), None, "object_attributes: is missing"),
    ],
)
async def test_each_fault_of_a_pipeline_is_named(
    here: World, place: tuple[str | int, ...], by: object, said: str
) -> None:
    """With the number of the job."""
    code, text = await here.send("old", damaged(payload("gitlab_pipeline"), place, by), hook("Pipeline Hook"))
    assert code == 400
    assert text.startswith(said)


async def test_truncated_oversized_and_of_another_type(here: World) -> None:
    """400, 413 and 415, with nothing kept."""
    assert (await here.send("old", raw(deployed())[:-20], hook()))[0] == 400
    assert (await here.send("old", deployed(commit_title="x" * 2**21), hook()))[0] == 413
    assert (await here.send("old", deployed(), hook(**{"Content-Type": "text/plain"})))[0] == 415
    assert here.notices == []


def test_a_signing_token_that_is_none() -> None:
    """Refused when the source is made, with the remedy and without the token."""
    for token in ("secret", "whsec_", "whsec_!", base64.b64encode(KEY).decode()):
        with pytest.raises(ValueError, match="is no signing token; copy the whole whsec_…"):
            GitLabEvents(MAPPED, token=None, signing_token=token)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.tuples(st.just("gitlab_deployment"), st.sampled_from(places(payload("gitlab_deployment")))),
        st.tuples(st.just("gitlab_pipeline"), st.sampled_from(places(payload("gitlab_pipeline")))),
    ),
    JSON,
)
def test_any_json_in_any_place_is_understood_or_refused(where: tuple[str, tuple[str | int, ...]], by: object) -> None:
    """Nonsense at each place of both payloads."""
    name, place = where
    body = raw(damaged(payload(name), place, by))
    reader = GitLabEvents(MAPPED, token=None, signing_token=None)
    understood_or_refused(lambda: reader.read(CIMultiDictProxy(CIMultiDict()), body, T0))
