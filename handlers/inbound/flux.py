"""Flux's notification-controller: events of Kustomizations and HelmReleases, from a Provider of type `generic-hmac` or `generic`.

An event names what was reconciled (`involvedObject`), never the workload: it speaks of all workloads that carry the owner's
labels. `generic-hmac` signs the raw body, and the identity is taken from that body; `generic` proves itself with a bearer token
that its Secret gives as a header. Where both are configured a request with a signature must have the right one. The controller
sends at once and people cannot redeliver, so what is older than an hour is a replay.

Metadata comes under its plain key (`revision`) today, and from older releases with the API group before it
(`kustomize.toolkit.fluxcd.io/revision`); both are read. Source: Flux' "Providers" and "Events", and the controllers' own events
(protocols §6.6).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timedelta

from multidict import CIMultiDict, CIMultiDictProxy

from daemon.core.model import Owner, OwnerKind
from daemon.core.notices import Notice, NoticeStatus
from handlers.alerts import MalformedError, object_of, parse_json
from handlers.auth import Authenticator
from handlers.notice_fields import DESCRIPTION_CHARS_MAX, Fields, ForgedError, UnsupportedError
from handlers.notice_input import Claim, Stamp, Story, check_fresh, identity, told, useful
from handlers.notice_mapping import Sender, Whereabouts

AGE_MAX = timedelta(hours=1)
"""How old an event may be: the controller gives up delivering one within minutes."""

_SIGNATURE = "X-Signature"
_GROUPS = {"Kustomization": "kustomize.toolkit.fluxcd.io", "HelmRelease": "helm.toolkit.fluxcd.io"}
REASONS = {
    "Kustomization": {
        "Progressing": NoticeStatus.STARTED,
        "ReconciliationSucceeded": NoticeStatus.SUCCEEDED,
        "ReconciliationFailed": NoticeStatus.FAILED,
        "HealthCheckFailed": NoticeStatus.FAILED,
    },
    "HelmRelease": {
        "InstallSucceeded": NoticeStatus.SUCCEEDED,
        "UpgradeSucceeded": NoticeStatus.SUCCEEDED,
        "InstallFailed": NoticeStatus.FAILED,
        "UpgradeFailed": NoticeStatus.FAILED,
        "TestFailed": NoticeStatus.FAILED,
        "RollbackFailed": NoticeStatus.FAILED,
        "RollbackSucceeded": NoticeStatus.ROLLED_BACK,
    },
}
"""What a reason says of the workloads; others come before any apply (BuildFailed) or tell of no rollout (DriftDetected)."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_COMMIT = re.compile(r"(?:(?:.*@)?sha1:|.+/)([0-9a-f]{40})")
"""`main@sha1:…` and `sha1:…` of today, `main/…` of old. A sha256 may be that of an OCI artefact, which is no commit."""


class FluxEvents:
    """Reads what one Provider of Flux sends; with neither `secret` nor `token` (only for trying out) nothing is checked."""

    def __init__(self, sender: Sender, *, secret: str | None, token: str | None) -> None:
        self._sender = sender
        self._secret = None if secret is None else secret.encode()
        self._auth = None if token is None else Authenticator(tokens={sender.name: token})

    def greet(self, headers: CIMultiDictProxy[str]) -> None:
        """The bearer token is judged here; a signature needs the body."""
        if self._is_signed(headers):
            return
        if self._auth is not None:
            if self._auth.who(headers) is None:
                raise ForgedError(
                    "no credentials that are known here: give the Provider's Secret an Authorization header"
                )
        elif self._secret is not None:
            raise ForgedError(
                f"{_SIGNATURE} is missing: the Provider must be of type generic-hmac, its Secret hold the token"
            )

    def read(self, headers: CIMultiDictProxy[str], body: bytes, now: datetime) -> tuple[Notice, ...]:
        """The notice of one event. Raises ForgedError before anything of the body is looked at, and MalformedError."""
        if self._is_signed(headers):
            self._check(headers[_SIGNATURE], body)
        media = headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedError("content-type", "must be application/json")
        return useful(_notices(Fields(object_of(parse_json(body, "body"), "body")), self._sender, now))

    def challenge(self) -> CIMultiDict[str]:
        """Flux answers no challenge; whoever tries by hand is told of the bearer scheme where it counts."""
        return CIMultiDict() if self._auth is None else self._auth.challenge()

    def _is_signed(self, headers: CIMultiDictProxy[str]) -> bool:
        return self._secret is not None and _SIGNATURE in headers

    def _check(self, signature: str, body: bytes) -> None:
        assert self._secret is not None, "only signed requests come here"
        expected = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        # Bytes: compare_digest refuses text beyond ASCII, and a header may hold anything.
        if not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), expected.encode()):
            raise ForgedError(
                f"{_SIGNATURE} does not match the body: is the Secret's token the secret that is set here?"
            )


def _notices(event: Fields, sender: Sender, now: datetime) -> tuple[Notice, ...]:
    """An event that tells what became of workloads; none for other objects and other reasons."""
    involved = event.needed("involvedObject")
    kind, reason = involved.name("kind"), event.name("reason")
    group = (involved.string("apiVersion") or "").partition("/")[0]
    status = REASONS.get(kind, {}).get(reason)
    # A success told as an error is the reason of an older state: it says nothing.
    contradicts = event.string("severity") == "error" and status is not NoticeStatus.FAILED
    if status is None or group != _GROUPS[kind] or contradicts:
        return ()
    at = event.moment("timestamp")
    check_fresh(at, now, AGE_MAX, "timestamp")
    namespace, name = _name(involved, "namespace"), _name(involved, "name")
    owner = f"{kind} {namespace}/{name}"
    metadata = _Metadata(event.inner("metadata"), group)
    version = metadata.text("revision")
    # An apply is told by several events (changes, prunings, "health check passed"): one start per revision.
    moment = version if status is NoticeStatus.STARTED and version else at.isoformat()
    return told(
        sender,
        Stamp(id=identity(kind, namespace, name, reason, moment), at=at, status=status),
        Claim(owner=Owner(kind=OwnerKind.FLUX, name=owner)),
        Story(
            whereabouts=Whereabouts(service=owner, environment=metadata.text("environment")),
            commit=_commit(metadata),
            version=version,
            description=event.text("message", DESCRIPTION_CHARS_MAX),
        ),
    )


class _Metadata:
    """An event's metadata, its keys with and without the group of who set them."""

    def __init__(self, fields: Fields, group: str) -> None:
        self._fields = fields
        self._group = group

    def text(self, key: str) -> str | None:
        """The value under the key alone, else under the object's group, else under that of the events."""
        prefixes = ("", f"{self._group}/", "event.toolkit.fluxcd.io/")
        return next((value for prefix in prefixes if (value := self._fields.text(prefix + key))), None)


def _commit(metadata: _Metadata) -> str | None:
    """The Git commit: of where an OCI artefact was made from, else of the revision, else as it is said."""
    for key in ("originRevision", "revision"):
        found = _COMMIT.fullmatch(metadata.text(key) or "")
        if found:
            return found[1]
    return metadata.text("commit")


def _name(fields: Fields, key: str) -> str:
    value = fields.name(key)
    if not _NAME.fullmatch(value):
        raise MalformedError(fields.at(key), "is no name of a Kubernetes object")
    return value
