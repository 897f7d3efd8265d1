"""Reading what pipelines send: fields within their limits, our own plain JSON, and the `lastgood` object in others' events.

One way to say a thing, for HTTP and MQTT alike. What identifies or decides (ids, times, workloads, digests) is refused
where it does not fit, with the path of the field; text for people is cut; links that are no links are dropped.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from datetime import datetime, timedelta

from config import workload_names
from daemon.core.model import Owner, OwnerKind, Workload
from daemon.core.notices import Notice, NoticeStatus, Origin
from handlers.alerts import MalformedError
from handlers.notice_fields import DESCRIPTION_CHARS_MAX, Fields
from handlers.notice_mapping import Sender, Whereabouts, workload_of

KEY_CHARS_MAX = 200
"""Longest identity that is journalled as it is; a longer one becomes its hash."""

IMAGE_CHARS_MAX = 512
"""Longest image reference: registry, path (255), tag (128) and digest (71)."""

IMAGES_MAX = 16
"""Most images, or digests, of one event: those of a pod with many containers."""

AHEAD_MAX = timedelta(minutes=5)
"""How far a sender's clock may be ahead of ours."""

STATUSES = {
    "deployment.started": NoticeStatus.STARTED,
    "deployment.finished": NoticeStatus.SUCCEEDED,
    "deployment.failed": NoticeStatus.FAILED,
    "deployment.rolledback": NoticeStatus.ROLLED_BACK,
}
PREFIX = "dev.lastgood."
"""May stand before a type, as CloudEvents advises (reverse DNS name of who defines it)."""

_STATED = (
    *("cluster", "namespace", "kind", "name", "workload", "application", "repository", "environment", "service"),
    *("image", "images", "digest", "digests", "version", "irreversible"),
    *("commit", "actor", "description", "url", "change_url"),
)
_STAMPS = ("id", "source", "type", "time")
APPLICATION = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?_)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
"""An Argo CD Application as its tracking-id has it: `name`, or `namespace_name` for one outside of Argo CD's own namespace."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
IMAGE = re.compile(rf"[!-~]{{1,{IMAGE_CHARS_MAX}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What makes an event this one: its identity, its moment, and what it says."""

    id: str
    at: datetime
    status: NoticeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an event says in our own words: the workload, or who owns it, and the artefact."""

    workload: Workload | None = None
    owner: Owner | None = None
    images: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    version: str | None = None
    irreversible: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What an event tells people, and where its pipeline hears back."""

    whereabouts: Whereabouts = field(default_factory=Whereabouts)
    commit: str | None = None
    author: str | None = None
    version: str | None = None
    description: str | None = None
    pipeline_url: str | None = None
    change_url: str | None = None
    origin: Origin | None = None

    def or_else(self, other: Story) -> Story:
        """This, with what it does not say taken from the other."""
        return Story(
            whereabouts=_filled(self.whereabouts, other.whereabouts),
            **{
                item.name: getattr(self, item.name) or getattr(other, item.name)
                for item in fields_of(self)
                if item.name != "whereabouts"
            },
        )


def _filled(first: Whereabouts, second: Whereabouts) -> Whereabouts:
    names = [item.name for item in fields_of(first)]
    return Whereabouts(**{name: getattr(first, name) or getattr(second, name) for name in names})


def identity(*parts: str) -> str:
    """One id out of several, each part kept apart; long ones as their hash."""
    joined = "#".join(part.replace("%", "%25").replace("#", "%23") for part in parts)
    return joined if len(joined) <= KEY_CHARS_MAX else f"sha256:{hashlib.sha256(joined.encode()).hexdigest()}"


def check_fresh(at: datetime, now: datetime, age_max: timedelta, field: str) -> None:
    """Refuse what is older than `age_max` or lies in the future: a replay, or a clock that is wrong.

    Raises MalformedError naming `field`.
    """
    if at < now - age_max:
        hours = age_max.total_seconds() / 3600
        raise MalformedError(field, f"is more than {hours:g} h ago: a replay, or the sender's clock is wrong")
    if at > now + AHEAD_MAX:
        raise MalformedError(field, "is more than 5 minutes ahead: is the sender's clock wrong?")


def status_of(kind: str) -> NoticeStatus | None:
    """What one of our own types says; None for a type that is not ours."""
    return STATUSES.get(kind.removeprefix(PREFIX))


def plain_notice(fields: Fields, sender: Sender) -> tuple[Notice, ...]:
    """The notice in our plain JSON, none where it names another cluster. Raises MalformedError."""
    kind = fields.name("type")
    status = status_of(kind)
    if status is None:
        raise MalformedError(fields.at("type"), f"must be one of {', '.join(STATUSES)}")
    id_ = identity(fields.name("source"), fields.name("id"))
    return stated(fields, sender, Stamp(id=id_, at=fields.moment("time"), status=status))


def stated(fields: Fields, sender: Sender, stamp: Stamp) -> tuple[Notice, ...]:
    """The notice in our plain JSON whose stamp is known; the stamp's own fields may be there too."""
    fields.only(*_STAMPS, *_STATED)
    notices = told(sender, stamp, _claim(fields, sender), _story(fields))
    if len(useful(notices)) < len(notices):
        raise MalformedError(
            fields.at("namespace"), "is missing: give namespace and name, an application, a digest, or a mapping"
        )
    return notices


def told(sender: Sender, stamp: Stamp, claim: Claim, story: Story) -> tuple[Notice, ...]:
    """One notice out of its parts; none where it is for another cluster."""
    if claim.elsewhere:
        return ()
    workload = claim.workload or workload_of(sender, story.whereabouts)
    return (
        Notice(
            source=sender.name,
            id=stamp.id,
            status=stamp.status,
            at=stamp.at,
            workload=workload,
            owner=claim.owner if workload is None else None,
            images=claim.images,
            digests=claim.digests,
            version=claim.version or story.version,
            commit=story.commit,
            author=story.author,
            environment=story.whereabouts.environment,
            description=story.description,
            pipeline_url=story.pipeline_url,
            change_url=story.change_url,
            irreversible=claim.irreversible,
            may_cause=sender.may_cause,
            origin=story.origin,
        ),
    )


def useful(notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    """Those that can be tied to a rollout: by a workload, its owner, or a digest."""
    return tuple(each for each in notices if each.workload is not None or each.owner is not None or each.digests)


def convention(fields: Fields, sender: Sender) -> tuple[Claim, Story]:
    """The object `lastgood` that somebody put into another format's free part. Raises MalformedError."""
    inner = fields.inner("lastgood").only(*_STATED)
    return _claim(inner, sender), _story(inner)


def _story(fields: Fields) -> Story:
    return Story(
        whereabouts=Whereabouts(**{name: fields.text(name) for name in ("repository", "environment", "service")}),
        commit=fields.text("commit"),
        author=fields.text("actor"),
        description=fields.text("description", DESCRIPTION_CHARS_MAX),
        pipeline_url=fields.url("url"),
        change_url=fields.url("change_url"),
    )


def _claim(fields: Fields, sender: Sender) -> Claim:
    images = _several(fields, "image", "images", IMAGE, "is no image reference, such as registry/app:v2")
    digests = _several(fields, "digest", "digests", DIGEST, "must be sha256: and 64 hex digits in lower case")
    pinned = (image.rpartition("@")[2] for image in images if "@" in image)
    cluster = fields.string("cluster")
    return Claim(
        workload=_workload(fields),
        owner=_application(fields),
        images=images,
        digests=tuple(dict.fromkeys((*digests, *(digest for digest in pinned if DIGEST.fullmatch(digest))))),
        version=fields.text("version"),
        irreversible=fields.flag("irreversible"),
        elsewhere=None not in (cluster, sender.cluster) and cluster != sender.cluster,
    )


def _several(fields: Fields, one: str, many: str, shape: re.Pattern[str], problem: str) -> tuple[str, ...]:
    """The values under the singular and the plural of a name, each once."""
    entries = fields.listed(many)
    if len(entries) > IMAGES_MAX:
        raise MalformedError(fields.at(many), f"has {len(entries)} entries, at most {IMAGES_MAX} are taken")
    values = [(fields.at(one), fields.string(one))]
    values += [(f"{fields.at(many)}[{index}]", entry) for index, entry in enumerate(entries)]  # type: ignore[misc]
    found = []
    for path, value in values:
        if value is None and path == fields.at(one):
            continue
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise MalformedError(path, problem)
        found.append(value)
    return tuple(dict.fromkeys(found))


def _workload(fields: Fields) -> Workload | None:
    """`workload` as namespace/name, or `namespace` and `name` with an optional `kind`."""
    text, name = fields.string("workload"), fields.string("name")
    if text is not None and name is not None:
        raise MalformedError(fields.at("workload"), "is given beside name: give one of them")
    if text is not None:
        return _parsed(text, fields.at("workload"))
    if name is None:
        return None
    namespace, kind = fields.name("namespace"), fields.string("kind") or workload_names.KIND
    return _parsed(f"{namespace}/{kind}/{name}", fields.at("name"))


def _application(fields: Fields) -> Owner | None:
    """The Argo CD Application in place of its workloads; one that is named beside it wins."""
    name = fields.string("application")
    if name is None:
        return None
    if not APPLICATION.fullmatch(name):
        raise MalformedError(fields.at("application"), "must be an Argo CD Application: name, or namespace_name")
    return Owner(kind=OwnerKind.ARGO_CD, name=name)


def _parsed(text: str, path: str) -> Workload:
    try:
        return workload_names.parse(text)
    except ValueError as error:
        raise MalformedError(path, str(error)) from None
