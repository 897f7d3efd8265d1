"""GitHub's webhooks `deployment` and `deployment_status`.

The signature covers the body alone. So an event's identity is taken from the body too (repository, deployment, status),
not from the header X-GitHub-Delivery, which anyone who caught a delivery could change to have it counted again; GitHub's
own redelivery carries the same body and is one event either way. Source: octokit/webhooks, and GitHub's "Validating webhook
deliveries" (protocols §6.3).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.notices import OWN_WORDS, Notice, NoticeStatus, Origin, Vendor
from handlers.alerts import MalformedError, object_of, parse_json
from handlers.notice_fields import DESCRIPTION_CHARS_MAX, Fields, ForgedError, UnsupportedError
from handlers.notice_input import Claim, Stamp, Story, check_fresh, convention, identity, told, useful
from handlers.notice_mapping import Sender, Whereabouts

AGE_MAX = timedelta(days=3, hours=1)
"""How old a status may be: GitHub lets people redeliver for 3 days."""

_SIGNATURE = "X-Hub-Signature-256"
_EVENT = "X-GitHub-Event"
_STATES = {
    "in_progress": NoticeStatus.STARTED,
    "success": NoticeStatus.SUCCEEDED,
    "failure": NoticeStatus.FAILED,
    "error": NoticeStatus.FAILED,
}
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_FORM = "application/x-www-form-urlencoded"


class GitHubEvents:
    """Reads what one GitHub webhook sends; without a `secret` (only for trying out) nothing is checked."""

    def __init__(self, sender: Sender, secret: str | None) -> None:
        self._sender = sender
        self._secret = None if secret is None else secret.encode()

    def greet(self, headers: CIMultiDictProxy[str]) -> None:
        """Without a signature the body need not be read."""
        if self._secret is not None and _SIGNATURE not in headers:
            raise ForgedError(f"{_SIGNATURE} is missing: give the webhook at GitHub the secret that is configured here")

    def read(self, headers: CIMultiDictProxy[str], body: bytes, now: datetime) -> tuple[Notice, ...]:
        """The notice of one delivery. Raises ForgedError before anything of the body is looked at, and MalformedError."""
        self._check(headers.get(_SIGNATURE, ""), body)
        event = headers.get(_EVENT)
        if event is None:
            raise MalformedError(_EVENT, "is missing: is this a webhook of GitHub?")
        if event not in ("deployment", "deployment_status"):
            return ()
        payload = Fields(object_of(_payload(headers.get("Content-Type"), body), "body"))
        if payload.string("action") != "created":
            return ()
        status = payload.needed("deployment_status") if event == "deployment_status" else None
        return useful(_notices(payload, payload.needed("deployment"), status, self._sender, now))

    def challenge(self) -> CIMultiDict[str]:
        """GitHub answers no challenge."""
        return CIMultiDict()

    def _check(self, signature: str, body: bytes) -> None:
        if self._secret is None:
            return
        expected = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        # Bytes: compare_digest refuses text beyond ASCII, and a header may hold anything.
        if not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), expected.encode()):
            raise ForgedError(f"{_SIGNATURE} does not match the body: is the secret the same on both sides?")


def _payload(content_type: str | None, body: bytes) -> object:
    """JSON, or JSON in the form field `payload` where the webhook's content type was left at GitHub's old default."""
    media = (content_type or "application/json").partition(";")[0].strip().lower()
    if media == "application/json":
        return parse_json(body, "body")
    if media != _FORM:
        raise UnsupportedError("content-type", "must be application/json: choose it in the webhook's settings")
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=8).get("payload", [])
    except ValueError:
        found = []
    if len(found) != 1:
        raise MalformedError("payload", "is no single form field; choose application/json in the webhook's settings")
    return parse_json(found[0].encode("utf-8", "surrogateescape"), "payload")


def _notices(
    payload: Fields, deployment: Fields, status: Fields | None, sender: Sender, now: datetime
) -> tuple[Notice, ...]:
    """A deployment that was created, or one of its statuses; those that say nothing new about the rollout give none."""
    told_by = status or deployment
    state = NoticeStatus.STARTED if status is None else _STATES.get(status.name("state"))
    description = told_by.text("description", DESCRIPTION_CHARS_MAX)
    if state is None or (description or "").startswith(OWN_WORDS):
        return ()
    at = told_by.moment("created_at")
    check_fresh(at, now, AGE_MAX, told_by.at("created_at"))
    repository = payload.needed("repository").name("full_name")
    if not _REPOSITORY.fullmatch(repository):
        raise MalformedError("repository.full_name", "must be owner/repository")
    number = deployment.number("id")
    own = () if status is None else (status.number("id"),)
    claim, extra = _convention(deployment, sender)
    story = Story(
        whereabouts=Whereabouts(
            repository=repository, environment=told_by.text("environment") or deployment.text("environment")
        ),
        commit=deployment.text("sha"),
        author=deployment.inner("creator").text("login"),
        version=_version(deployment),
        description=description or deployment.text("description", DESCRIPTION_CHARS_MAX),
        pipeline_url=_pipeline_url(payload, status),
        change_url=_change_url(payload.inner("repository").url("html_url"), deployment.text("sha")),
        origin=Origin(vendor=Vendor.GITHUB, project=repository, deployment=number),
    )
    stamp = Stamp(id=identity(repository, "deployment", number, *own), at=at, status=state)
    return told(sender, stamp, claim, extra.or_else(story))


def _convention(deployment: Fields, sender: Sender) -> tuple[Claim, Story]:
    """`deployment.payload.lastgood`. The payload is free: an object, or text that may hold JSON; others' are left alone."""
    payload = deployment.entry.get("payload")
    path = deployment.at("payload")
    if isinstance(payload, str):
        try:
            payload = parse_json(payload.encode("utf-8", "surrogatepass"), path)
        except MalformedError:
            return Claim(), Story()
    return convention(Fields(payload, path), sender) if isinstance(payload, dict) else (Claim(), Story())


def _version(deployment: Fields) -> str | None:
    """The branch or tag; a ref that is the commit says nothing more."""
    ref = deployment.text("ref")
    return None if ref is None or _SHA.fullmatch(ref) else ref


def _pipeline_url(payload: Fields, status: Fields | None) -> str | None:
    """The log as the deployer gave it, else the run of GitHub Actions that deployed."""
    given = None if status is None else status.url("log_url") or status.url("target_url")
    return given or payload.inner("workflow_run").url("html_url")


def _change_url(repository: str | None, commit: str | None) -> str | None:
    known = repository is not None and commit is not None and _SHA.fullmatch(commit)
    return f"{repository}/commit/{commit}" if known else None
