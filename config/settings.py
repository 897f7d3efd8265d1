"""The settings tree and how it is loaded.

Sources, strongest first: environment variables (`LASTGOOD_`, nested with `__`), files in `secrets_dir`, the YAML
file, the defaults. Mappings are laid over each other leaf by leaf, lists are replaced as a whole. Nothing is read
twice and nothing is remembered between two loads, so a reload sees a swapped Secret mount.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config import credentials, document, event_sections, mqtt_section, policy_checks, policy_section, problems, sources
from config.credentials import Section
from config.event_sections import Events
from config.lease_section import Lease
from config.mqtt_section import Mqtt
from config.problems import ConfigError
from config.sections import Alertmanager, Kubernetes, Limits, Log, PagerDuty, Prometheus, Server, Slack
from daemon.core.policy import GitOps, Policy, Route

SOCKET_PATH_MAX = 107
"""Bytes of a Unix socket's path on Linux: 108 in `sun_path`, one of them the final zero (unix(7))."""

ROUTING_KEY_LENGTH = 32
"""Characters of a PagerDuty integration key (Events API v2)."""


def _plain(value: object) -> Any:
    """`value` as JSON can hold it, secrets as whether they are set."""
    if isinstance(value, SecretStr):
        return "set"
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


class Settings(BaseSettings):
    """All settings, frozen. `repr` shows no secret. Build it with `load`; `cluster` is the only required one.

    Durations are timedeltas, sizes bytes. `policy` is the core's Policy with `cluster` filled in.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, validate_default=False
    )

    cluster: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    policy: Annotated[Policy, PlainValidator(policy_section.read), PlainSerializer(_plain)] = Field(
        default_factory=dict,  # read by the validator, like an empty section
        validate_default=True,
    )
    state_dir: Path = Path("/var/lib/lastgood")
    secrets_dir: Path | None = None
    server: Server = Field(default_factory=Server)
    kubernetes: Kubernetes = Field(default_factory=Kubernetes)
    prometheus: Prometheus = Field(default_factory=Prometheus)
    alertmanager: Alertmanager = Field(default_factory=Alertmanager)
    pagerduty: PagerDuty = Field(default_factory=PagerDuty)
    slack: Slack = Field(default_factory=Slack)
    mqtt: Mqtt = Field(default_factory=Mqtt)
    events: Annotated[Events, AfterValidator(event_sections.beside_server)] = Field(default_factory=Events)
    log: Log = Field(default_factory=Log)
    limits: Limits = Field(default_factory=Limits)
    lease: Lease = Field(default_factory=Lease)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is theirs
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Built by hand, settings are what was given; only `load` reads the environment."""
        return (init_settings,)

    @field_validator("state_dir")
    @classmethod
    def _short_enough(cls, value: Path) -> Path:
        if len(os.fsencode(value.absolute() / "lastgood.sock")) > SOCKET_PATH_MAX:
            raise ValueError(
                f"is too long for a Unix socket ({SOCKET_PATH_MAX} bytes with its name); use a shorter path"
            )
        return value

    @property
    def socket_path(self) -> Path:
        """The Unix socket the command line talks to."""
        return self.state_dir / "lastgood.sock"

    @property
    def journal_path(self) -> Path:
        """The journal's SQLite file."""
        return self.state_dir / "journal.sqlite"

    @property
    def secrets(self) -> frozenset[str]:
        """The values of all configured secrets, for the log's redaction. Never print it."""
        return frozenset(credentials.values_in(self))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but may surprise, one line each, in the form of ConfigError's."""
        return (
            *policy_checks.warnings_of(self.policy),
            *_outside_warnings(self),
            *mqtt_section.warnings_of(self.mqtt),
            *event_sections.warnings_of(self.events),
        )

    @property
    def fingerprint(self) -> str:
        """12 hex digits (48 bits, so exact as a float in a metric) over all settings; equal settings give equal ones.

        Of a secret only whether it is set goes in: the value of a metric must not help to guess one.
        """
        text = json.dumps(_plain(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the YAML file at `path` (None: no file), the environment and the secret files.

    `environ` is the process' own where not given. Raises nothing but ConfigError, with each field and its remedy.
    """
    content = document.read(path) if path is not None else {}
    variables, origin = sources.environment(os.environ if environ is None else environ)
    folder = variables.get("secrets_dir") or content.get("secrets_dir")
    files: dict[str, Any] = {}
    if isinstance(folder, str):
        files, file_origin = sources.folder(Path(folder), origin)
        origin = file_origin | origin
    given = tuple(sources.Given(Settings, _spelled_out(each)) for each in (variables, files, content))
    try:
        return Settings(_build_sources=(given, {}))
    except ValidationError as error:
        raise ConfigError(problems.explain(error, _known_keys(), origin)) from None


def _spelled_out(content: dict[str, Any]) -> dict[str, Any]:
    """One source without nulls (a section whose lines are all comments) and with its secrets' files spelled out."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        field = Settings.model_fields.get(name)
        kind = field.annotation if field is not None else None
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Section):
            found[name] = kind.spelled_out(value)
        elif value is not None or field is None:
            found[name] = value
    return found


def _outside_warnings(settings: Settings) -> list[str]:
    found = []
    if not settings.pagerduty.is_set and policy_checks.is_armed(settings.policy):
        found.append("pagerduty.routing_key: not set while workloads are armed; nobody is paged")
    if settings.policy.approvers and settings.slack.interactions == "off":
        found.append(
            "policy.approvers: set while slack has neither signing_secret nor app_token; messages have no buttons"
        )
    if any(rule.do is GitOps.GIT_REVERT for rule in settings.policy.gitops) and not settings.events.repositories:
        found.append("policy.gitops: git-revert without events.repositories; no pull request can be opened")
    routes = settings.policy.routes
    if not settings.slack.is_set and Route.ANNOUNCE in (*routes.critical, *routes.high, *routes.low):
        found.append("slack: not set while policy.routes announces; announcements go only to the log")
    if settings.prometheus.url is None:
        found.append(
            "prometheus.url: not set; the daemon will not start, without signals nothing can be verified or blamed"
        )
    if not settings.alertmanager.urls:
        found.append(
            "alertmanager.urls: not set; no recovery can be verified, and alerts missed while down are never seen"
        )
    server = settings.server
    if not (server.webhook_tokens or server.webhook_basic):
        found.append("server.webhook_tokens: not set; whoever reaches the address may send alerts")
    if any(len(key) != ROUTING_KEY_LENGTH for key in credentials.values_in(settings.pagerduty)):
        found.append(f"pagerduty: a routing key has not {ROUTING_KEY_LENGTH} characters; is it an Events API v2 key?")
    return found


@cache
def _known_keys() -> dict[str, Collection[str]]:
    """The keys below each path (`""`, `log.`, `policy.modes.*.`), for "did you mean"."""
    found: dict[str, Collection[str]] = {}
    _collect(Settings, "", found)
    _collect(policy_section.model(), "policy.", found)
    return found


def _collect(kind: type[BaseModel], path: str, found: dict[str, Collection[str]]) -> None:
    found[path] = tuple(kind.model_fields)
    for name, info in kind.model_fields.items():
        for inner, suffix in _models_in(info.annotation, ""):
            _collect(inner, f"{path}{name}.{suffix}", found)


def _models_in(hint: Any, suffix: str) -> list[tuple[type[BaseModel], str]]:
    if isinstance(hint, type) and not get_args(hint) and issubclass(hint, BaseModel):
        return [(hint, suffix)]
    deeper = f"{suffix}*." if get_origin(hint) in (tuple, dict, Mapping) else suffix
    return [found for part in get_args(hint) for found in _models_in(part, deeper)]
