"""The section `events`: who tells of deployments over HTTP, and which workload their events speak of."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationInfo, model_validator

from config import problems, repository_section, workload_names
from config.credentials import OptionalSecret, ReadOnly, Section
from config.problems import Problem
from config.repository_section import Repository
from config.sections import Server, Url
from daemon.core.model import Workload

SECRET_CHARS_MIN = 16
"""Characters. Whoever sees one signed delivery can try secrets at home; 16 random ones are not found."""

MATCH_CHARS_MAX = 256
"""Longest repository, environment or service, which is what is kept of an event's."""

RESERVED = frozenset({"alertmanager", "operators", "poll", "history", "mqtt", "slack"})
"""Names in the metrics that are not a source's own."""

BROKER = "mqtt"
"""The `source` of a mapping that is only for events from the broker."""

CREDENTIALS = {
    "events": ("token",),
    "github": ("secret",),
    "gitlab": ("token", "signing_token"),
    "flux": ("secret", "token"),
    "flagger": ("token",),
}
"""What proves the sender, by kind; one of them is enough."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class EventSource(Section):
    """One sender: `events` (CloudEvents, CDEvents, plain JSON; bearer `token`), `github` (`secret` of the webhook), `gitlab`
    (secret `token`, or `signing_token`), `flux` (`secret` of a Provider `generic-hmac`, or bearer `token` of a `generic` one) or
    `flagger` (`token` in the metadata of a Canary's webhooks).

    `may_cause` lets its failure events open incidents. `api_token`, with `api_url` where it is not the vendor's own, lets a
    rollback be told to the pipeline. `anonymous: true` lets everybody send beyond loopback.
    """

    kind: Literal["events", "github", "gitlab", "flux", "flagger"]
    token: OptionalSecret = None
    secret: OptionalSecret = None
    signing_token: OptionalSecret = None
    anonymous: bool = False
    may_cause: bool = False
    api_url: Url | None = None
    api_token: OptionalSecret = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = {name: getattr(self, name) for names in CREDENTIALS.values() for name in names}
        for name, value in given.items():
            if value is not None and name not in CREDENTIALS[self.kind]:
                wanted = " or ".join(CREDENTIALS[self.kind])
                raise ValueError(f"{name} does not prove a sender of kind {self.kind}; set {wanted}")
            if value is not None and len(value.get_secret_value()) < SECRET_CHARS_MIN:
                raise ValueError(f"{name} is shorter than {SECRET_CHARS_MIN} characters; generate a longer one")
        if self.kind not in repository_section.API and (self.api_url is not None or self.api_token is not None):
            raise ValueError("api_url and api_token are for kind github and gitlab; remove them")
        if self.signing_token is not None and not _is_signing_token(self.signing_token.get_secret_value()):
            raise ValueError("signing_token is none; copy the whole whsec_… from GitLab's page of the webhook")
        if self.anonymous and self.has_credential:
            raise ValueError("anonymous goes with no credential; remove one of them")
        if self.may_cause and not self.has_credential:
            raise ValueError("may_cause needs a credential; else whoever reaches the address could open incidents")
        if self.may_cause and self.kind == "flagger":
            raise ValueError("may_cause is not for kind flagger, which rolls a failed canary back itself; remove it")
        return self

    @property
    def has_credential(self) -> bool:
        """True when a sender must prove that it is this one."""
        return any(getattr(self, name) is not None for name in CREDENTIALS[self.kind])

    @property
    def vendor_url(self) -> str | None:
        """Where the pipeline hears back: `api_url`, else the vendor's own; None for a kind that cannot."""
        return self.api_url or repository_section.API.get(self.kind)


def _is_signing_token(text: str) -> bool:
    try:
        return text.startswith("whsec_") and bool(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        return False


_Value = Annotated[str, Field(min_length=1, max_length=MATCH_CHARS_MAX)]


class EventMatch(Section):
    """What an event must say; everything that is given, exactly as written."""

    repository: _Value | None = None
    environment: _Value | None = None
    service: _Value | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.pairs:
            raise ValueError("matches every event; give repository, environment or service")
        return self

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(key, value) of what is given."""
        every = ((name, getattr(self, name)) for name in type(self).model_fields)
        return tuple((name, value) for name, value in every if value is not None)


def _workload(value: object) -> object:
    if isinstance(value, Workload):
        return value
    if not isinstance(value, str):
        raise ValueError(f"is no text; {workload_names.HELP}")  # noqa: TRY004 - pydantic takes only a ValueError
    return workload_names.parse(value)


class EventMapping(Section):
    """Events that match speak of this workload; `source` limits it to one source, or to `mqtt`."""

    source: str | None = None
    match: EventMatch
    workload: Annotated[Workload, BeforeValidator(_workload), PlainSerializer(str)]


def _well_named(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not all(_NAME.fullmatch(name) for name in value):
        raise ValueError("holds something that is no name; use lower-case letters, digits, - and _")
    return value


def _named(value: Mapping[str, EventSource]) -> Mapping[str, EventSource]:
    _well_named(value)
    if RESERVED & set(value):
        raise ValueError(f"holds a name that the metrics use already ({', '.join(sorted(RESERVED))}); choose another")
    return value


def _none() -> Mapping[str, Any]:
    return MappingProxyType({})


_AsSections = PlainSerializer(lambda value: {name: item.model_dump(mode="json") for name, item in value.items()})


class Events(Section):
    """`sources` by name, which is the last part of their address; `mappings` in their order, the first that fits counts;
    `repositories` by a name that is only for people.
    """

    sources: Annotated[Mapping[str, EventSource], AfterValidator(_named), ReadOnly, _AsSections] = Field(
        default_factory=_none
    )
    mappings: tuple[EventMapping, ...] = ()
    repositories: Annotated[Mapping[str, Repository], AfterValidator(_well_named), ReadOnly, _AsSections] = Field(
        default_factory=_none
    )

    @model_validator(mode="after")
    def _known_sources(self) -> Self:
        problems.refuse(
            Problem(where=("mappings", index, "source"), text="names no source; write one of events.sources, or mqtt")
            for index, rule in enumerate(self.mappings)
            if rule.source not in (None, BROKER, *self.sources)
        )
        problems.refuse(
            Problem(where=("repositories", name, "sources"), text=f"{unknown[0]!r} is none of events.sources, nor mqtt")
            for name, repository in self.repositories.items()
            if (unknown := [each for each in repository.sources if each not in (BROKER, *self.sources)])
        )
        return self

    @model_validator(mode="after")
    def _apart(self) -> Self:
        seen: dict[str, str] = {}
        for name, source in self.sources.items():
            for text in (getattr(source, field) for field in CREDENTIALS[source.kind]):
                if text is None:
                    continue
                other = seen.setdefault(text.get_secret_value(), name)
                if other != name:
                    raise ValueError(f"sources.{name} shares its credential with {other}; give each its own")
        return self

    @classmethod
    def spelled_out(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """As for every section, and within each source and repository too: a variable must win over a file there as well."""
        given = super().spelled_out(data)
        kinds: tuple[tuple[str, type[Section]], ...] = (("sources", EventSource), ("repositories", Repository))
        for field, kind in kinds:
            named = given.get(field)
            if isinstance(named, Mapping):
                given[field] = {
                    name: kind.spelled_out(each) if isinstance(each, Mapping) else each
                    for name, each in _unfolded(named, kind).items()
                }
        return given


def _unfolded(named: Mapping[str, Any], kind: type[Section]) -> dict[str, Any]:
    """`{ci: {token: …}}` for the `{ci.token: …}` that a file `events.sources.ci.token` in secrets_dir becomes."""
    found: dict[str, Any] = {}
    for name, value in named.items():
        source, dot, field = str(name).partition(".")
        if dot and _NAME.fullmatch(source) and field in kind.model_fields:
            inner = found.setdefault(source, {})
            if isinstance(inner, dict):
                inner.setdefault(field, value)
        elif isinstance(value, Mapping) and isinstance(found.get(name), dict):
            found[name] = {**found[name], **value}
        else:
            found[name] = value
    return found


def beside_server(events: Events, info: ValidationInfo) -> Events:
    """What only both sections together tell. Raises pydantic's ValidationError."""
    server = info.data.get("server")
    if isinstance(server, Server):
        problems.refuse(
            Problem(where=("sources", name), text=text)
            for name, source in events.sources.items()
            if (text := _exposed(source, server)) is not None
        )
    return events


def _exposed(source: EventSource, server: Server) -> str | None:
    if not (source.has_credential or source.anonymous or server.is_loopback):
        wanted = " or ".join(CREDENTIALS[source.kind])
        return f"takes events from everybody beyond loopback; set {wanted}, or anonymous: true"
    if {getattr(source, name) for name in CREDENTIALS[source.kind]} & set(server.operators.values()):
        return "shares its credential with an operator; pipelines must not be able to command"
    return None


def warnings_of(events: Events) -> list[str]:
    """What is allowed but may surprise, one line each."""
    return [
        f"events.sources.{name}: has no credential; whoever reaches the address may send deployment events"
        for name, source in events.sources.items()
        if not source.has_credential
    ]
