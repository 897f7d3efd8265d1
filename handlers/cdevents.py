"""CDEvents: what its events say about a rollout, whichever release of the specification wrote them.

Read tolerantly: 0.1 to 0.3 write `context.version` and `subject.type`, 0.5 writes `context.specversion` and drops
`subject.type`; the event's own type carries a version of its own. So types are matched without their version, and only
what every release has is required. There is no namespace in CDEvents: a mapping, the artefact's digest or
`customData.lastgood` tells the workload. Source: cdevents/spec, continuous-deployment.md and core.md of each release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qs, unquote

from daemon.core.notices import Notice, NoticeStatus
from handlers.alerts import MalformedError
from handlers.notice_fields import DESCRIPTION_CHARS_MAX, Fields
from handlers.notice_input import Claim, Stamp, Story, convention, identity, told, useful
from handlers.notice_mapping import Sender, Whereabouts

PREFIX = "dev.cdevents."

ARTIFACT_CHARS_MAX = 1024
"""Longest package URL that is read; those of container images have about 200 characters."""

_SERVICE = {
    "service.deployed": NoticeStatus.SUCCEEDED,
    "service.upgraded": NoticeStatus.SUCCEEDED,
    "service.rolledback": NoticeStatus.ROLLED_BACK,
}
_RUN = {"pipelinerun.started", "pipelinerun.finished", "taskrun.started", "taskrun.finished"}
_OUTCOMES = {
    "success": NoticeStatus.SUCCEEDED,
    "failure": NoticeStatus.FAILED,
    "error": NoticeStatus.FAILED,
}

_TYPE = re.compile(r"dev\.cdevents\.([a-z]+\.[a-z]+)(?:\..*)?", re.DOTALL)
_VERSION = re.compile(r"0\.\d{1,4}\.\d{1,4}(?:-[0-9A-Za-z.-]{1,32})?")
_PURL = re.compile(r"pkg:(oci|docker)/(?:[^@?#]*/)?([0-9A-Za-z._%-]+)(?:@([^?#]*))?(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[0-9A-Za-z._-]{1,255}")
_TAG = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}")


def concerns(kind: str) -> bool:
    """True for types that can say something about a rollout; builds, tests, changes and incidents do not."""
    subject = _subject(kind)
    return subject in _SERVICE or subject in _RUN


def cdevent(event: Mapping[str, object], path: str, sender: Sender) -> tuple[Notice, ...]:
    """The notice in a CDEvent found at `path`; none where it says nothing about a workload here. Raises MalformedError."""
    fields = Fields(event, path)
    context, subject = fields.needed("context"), fields.needed("subject")
    _check_version(context)
    kind = context.name("type")
    if not kind.startswith(PREFIX):
        raise MalformedError(context.at("type"), f"must begin with {PREFIX}")
    stamp = Stamp(
        id=identity(context.name("source"), context.name("id")),
        at=context.moment("timestamp"),
        status=NoticeStatus.STARTED,
    )
    about = _subject(kind)
    if about in _SERVICE:
        return _service(fields, subject, replace(stamp, status=_SERVICE[about]), sender)
    return _run(fields, subject, stamp, sender, about) if about in _RUN else ()


def _subject(kind: str) -> str:
    """`service.deployed` of `dev.cdevents.service.deployed.0.3.0`; empty for what is no CDEvent."""
    found = _TYPE.fullmatch(kind)
    return found[1] if found else ""


def _check_version(context: Fields) -> None:
    """`specversion` since 0.5, `version` before. A 1.0 may mean other things by the same words."""
    name = "specversion" if context.entry.get("specversion") is not None else "version"
    if _VERSION.fullmatch(context.name(name)) is None:
        raise MalformedError(context.at(name), "must be a version of CDEvents below 1.0, such as 0.5.1")


def _service(fields: Fields, subject: Fields, stamp: Stamp, sender: Sender) -> tuple[Notice, ...]:
    content = subject.needed("content")
    claim, extra = _custom(fields, sender)
    whereabouts = Whereabouts(
        environment=content.inner("environment").text("id"),
        service=subject.name("id"),
    )
    artefact = artifact(content.string("artifactId"), content.at("artifactId"))
    both = replace(
        claim,
        images=tuple(dict.fromkeys((*claim.images, *artefact.images))),
        digests=tuple(dict.fromkeys((*claim.digests, *artefact.digests))),
        version=claim.version or artefact.version,
    )
    return useful(told(sender, stamp, both, extra.or_else(Story(whereabouts=whereabouts))))


def _run(fields: Fields, subject: Fields, stamp: Stamp, sender: Sender, about: str) -> tuple[Notice, ...]:
    """A pipeline's or task's run tells of a rollout only where `customData.lastgood` names the workload.

    Most runs build and test. Outcomes other than those three (cancelled, skipped) leave open what was deployed.
    """
    content = subject.inner("content")
    claim, extra = _custom(fields, sender)
    if claim.workload is None:
        return ()
    status: NoticeStatus | None = NoticeStatus.STARTED
    if about.endswith(".finished"):
        status = _OUTCOMES.get(content.string("outcome") or "")
    if status is None:
        return ()
    story = Story(pipeline_url=content.url("url"), description=content.text("errors", DESCRIPTION_CHARS_MAX))
    return told(sender, replace(stamp, status=status), claim, extra.or_else(story))


def _custom(fields: Fields, sender: Sender) -> tuple[Claim, Story]:
    """`customData.lastgood`; custom data of other shapes (text, base64) belongs to others."""
    if not isinstance(fields.entry.get("customData"), dict):
        return Claim(), Story()
    return convention(fields.inner("customData"), sender)


def artifact(purl: str | None, path: str) -> Claim:
    """Digest, or image and tag, in a package URL of type oci or docker; other types name no container image.

    `pkg:oci/app@sha256%3A…?repository_url=registry/app&tag=v2`, `pkg:docker/team/app@v2` (package-url/purl-spec). The
    registry is left out of the image: it may be a mirror, and the pod pulls by another name. Raises MalformedError.
    """
    if purl is None:
        return Claim()
    if not purl.startswith("pkg:") or len(purl) > ARTIFACT_CHARS_MAX:
        raise MalformedError(
            path, f"must be a package URL of at most {ARTIFACT_CHARS_MAX} characters, such as pkg:oci/…"
        )
    found = _PURL.fullmatch(purl)
    if found is None:
        return Claim()
    name, version = unquote(found[2]), unquote(found[3] or "")
    tag = (parse_qs(found[4] or "").get("tag") or [""])[0]
    if _DIGEST.fullmatch(version):
        return Claim(digests=(version,), version=tag[:128] if _TAG.fullmatch(tag) else None)
    image = f"{name}:{version}"
    return Claim(images=(image,), version=version) if _TAG.fullmatch(version) and _NAME.fullmatch(name) else Claim()
