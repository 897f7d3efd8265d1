"""GitLab's webhooks: deployment events, and pipeline events with their jobs' environments.

Two ways to prove the sender: the secret token, which travels with each request, or (since 2026) a signing token: HMAC-SHA256
over id, timestamp and body as Standard Webhooks has it, so that a caught delivery is worth nothing after five minutes. Where
both are configured a request with a signature must have the right one; without one the secret token decides, as GitLab advises
for moving over. The identity is taken from the body: X-Gitlab-Webhook-UUID names the webhook, not the delivery, and
Idempotency-Key is not signed. Source: GitLab's "Webhook events" and "Webhooks" (protocols §6.4).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from datetime import datetime, timedelta

from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.notices import Notice, NoticeStatus, Origin, Vendor
from handlers.alerts import MalformedError, moment, object_of, parse_json
from handlers.notice_fields import DESCRIPTION_CHARS_MAX, URL_CHARS_MAX, Fields, ForgedError, UnsupportedError
from handlers.notice_input import Claim, Stamp, Story, check_fresh, identity, told, useful
from handlers.notice_mapping import Sender, Whereabouts

SIGNED_FOR = timedelta(minutes=5)
"""How far the signed timestamp may be from now, either way (Standard Webhooks)."""

AGE_MAX = timedelta(days=3)
"""How old a change of status may be: GitLab shows deliveries for resending for 2 days."""

KEY_PREFIX = "whsec_"

_TOKEN = "X-Gitlab-Token"  # noqa: S105 - the header's name
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
_STATUSES = {
    "running": NoticeStatus.STARTED,
    "success": NoticeStatus.SUCCEEDED,
    "failed": NoticeStatus.FAILED,
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) (?:UTC|([+-]\d\d)(\d\d))", re.ASCII)
_PROJECT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,254})(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}){1,20}")
_COMMIT = re.compile(r"/commit/([0-9a-f]{40}(?:[0-9a-f]{24})?)\Z")


def signing_key(token: str) -> bytes:
    """The key in a signing token, `whsec_` and Base64. Raises ValueError with the remedy."""
    try:
        key = base64.b64decode(token.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not token.startswith(KEY_PREFIX) or not key:
        raise ValueError("is no signing token; copy the whole whsec_… from GitLab's page of the webhook")
    return key


class GitLabEvents:
    """Reads what one GitLab webhook sends; with neither token (only for trying out) nothing is checked."""

    def __init__(self, sender: Sender, *, token: str | None, signing_token: str | None) -> None:
        """Raises ValueError for a signing token that is none."""
        self._sender = sender
        self._token = None if token is None else _digest(token.encode())
        self._key = None if signing_token is None else signing_key(signing_token)

    def greet(self, headers: CIMultiDictProxy[str]) -> None:
        """The secret token is judged here; a signature needs the body."""
        if self._is_signed(headers):
            missing = [name for name in _SIGNED if name not in headers]
            if missing:
                raise ForgedError(f"{missing[0]} is missing beside the signature")
        elif self._token is not None:
            sent = headers.get(_TOKEN, "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(_digest(sent), self._token):
                raise ForgedError(f"{_TOKEN} is missing or wrong: is the secret token the same on both sides?")
        elif self._key is not None:
            raise ForgedError("webhook-signature is missing: give the webhook at GitLab its signing token")

    def read(self, headers: CIMultiDictProxy[str], body: bytes, now: datetime) -> tuple[Notice, ...]:
        """The notices of one delivery. Raises ForgedError before anything of the body is looked at, and MalformedError."""
        if self._is_signed(headers):
            self._check(headers, body, now)
        media = headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedError("content-type", "must be application/json")
        payload = Fields(object_of(parse_json(body, "body"), "body"))
        kind = payload.name("object_kind")
        if kind == "deployment":
            return useful(_deployment(payload, self._sender, now))
        return useful(_pipeline(payload, self._sender, now)) if kind == "pipeline" else ()

    def challenge(self) -> CIMultiDict[str]:
        """GitLab answers no challenge."""
        return CIMultiDict()

    def _is_signed(self, headers: CIMultiDictProxy[str]) -> bool:
        return self._key is not None and "webhook-signature" in headers

    def _check(self, headers: CIMultiDictProxy[str], body: bytes, now: datetime) -> None:
        id_, timestamp, signatures = (headers[name].encode("utf-8", "surrogateescape") for name in _SIGNED)
        assert self._key is not None, "only signed requests come here"
        mac = hmac.new(self._key, b".".join((id_, timestamp, body)), hashlib.sha256).digest()
        expected = b"v1," + base64.b64encode(mac)
        # Several are sent while the token is being changed.
        matches = [hmac.compare_digest(each, expected) for each in signatures.split()]
        if not any(matches):
            raise ForgedError("webhook-signature does not match: is the signing token the same on both sides?")
        if not re.fullmatch(rb"[0-9]{1,12}", timestamp):
            raise ForgedError("webhook-timestamp is no Unix time")
        if abs(int(timestamp) - now.timestamp()) > SIGNED_FOR.total_seconds():
            raise ForgedError("webhook-timestamp is more than 5 minutes from now: a replay, or a clock is wrong")


def _digest(secret: bytes) -> bytes:
    # Equal lengths: compare_digest tells by its duration when the lengths differ.
    return hashlib.sha256(secret).digest()


def _deployment(payload: Fields, sender: Sender, now: datetime) -> tuple[Notice, ...]:
    """A deployment event. `canceled` and statuses to come leave open what runs: they say nothing."""
    word = payload.name("status")
    status = _STATUSES.get(word)
    if status is None:
        return ()
    at = _moment(payload, "status_changed_at")
    check_fresh(at, now, AGE_MAX, "status_changed_at")
    project, number = _project(payload), payload.number("deployment_id")
    link = payload.string("commit_url") or ""
    commit = _COMMIT.search(link)
    story = Story(
        whereabouts=Whereabouts(repository=project, environment=payload.text("environment")),
        commit=commit[1] if commit else payload.text("short_sha"),
        author=payload.inner("user").text("username"),
        version=payload.text("ref"),
        description=payload.text("commit_title", DESCRIPTION_CHARS_MAX),
        pipeline_url=payload.url("deployable_url"),
        change_url=payload.url("commit_url"),
        origin=Origin(vendor=Vendor.GITLAB, project=project, deployment=number),
    )
    stamp = Stamp(id=identity(project, "deployment", number, word, at.isoformat()), at=at, status=status)
    return told(sender, stamp, Claim(), story)


def _pipeline(payload: Fields, sender: Sender, now: datetime) -> tuple[Notice, ...]:
    """One notice per job that deploys and runs or has ended.

    Every event of a pipeline lists all of its jobs: those that ended long ago are left out, and those told before are dropped by
    their identity. The job's status counts, not the pipeline's: a test that fails after the deployment undid nothing.
    """
    project = _project(payload)
    found: list[Notice] = []
    for index, entry in enumerate(payload.listed("builds")):
        job = Fields(object_of(entry, f"builds[{index}]"), f"builds[{index}]")
        environment = job.inner("environment")
        status = _STATUSES.get(job.string("status") or "")
        if environment.string("name") is None or environment.string("action") not in (None, "start") or status is None:
            continue
        at = _moment(job, "started_at" if status is NoticeStatus.STARTED else "finished_at")
        if at >= now - AGE_MAX:
            check_fresh(at, now, AGE_MAX, job.at("finished_at"))
            number = job.number("id")
            stamp = Stamp(id=identity(project, "job", number, status.value), at=at, status=status)
            found += told(sender, stamp, Claim(), _job_story(payload, job, project, number))
    return tuple(found)


def _job_story(payload: Fields, job: Fields, project: str, number: str) -> Story:
    pipeline, commit = payload.needed("object_attributes"), payload.inner("commit")
    site = payload.inner("project").url("web_url")
    link = f"{site}/-/jobs/{number}" if site is not None else None
    return Story(
        whereabouts=Whereabouts(repository=project, environment=job.inner("environment").text("name")),
        commit=pipeline.text("sha"),
        author=job.inner("user").text("username") or payload.inner("user").text("username"),
        version=pipeline.text("ref"),
        description=commit.text("title", DESCRIPTION_CHARS_MAX),
        pipeline_url=link if link is not None and len(link) <= URL_CHARS_MAX else pipeline.url("url"),
        change_url=commit.url("url"),
    )


def _project(payload: Fields) -> str:
    project = payload.needed("project").name("path_with_namespace")
    if not _PROJECT.fullmatch(project):
        raise MalformedError("project.path_with_namespace", "must be group/project")
    return project


def _moment(fields: Fields, name: str) -> datetime:
    """GitLab's `2021-04-28 21:50:00 +0200` and `2016-08-12 15:26:29 UTC`, or RFC 3339."""
    text = fields.string(name)
    found = _TIME.fullmatch(text) if text is not None else None
    if found is None:
        return moment(text, fields.at(name))
    zone = f"{found[3]}:{found[4]}" if found[3] else "Z"
    return moment(f"{found[1]}T{found[2]}{zone}", fields.at(name))
