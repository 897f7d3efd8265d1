"""The sections beside `policy`: where Lastgood listens, keeps its state, and whom it talks to.

Everything has a default but the secrets and the addresses of the outside; an outside system without an address is not
used, and `Settings.warnings` says what that costs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from config.credentials import AsTexts, NamedSecrets, OptionalSecret, ReadOnly, Section
from config.durations import Duration, DurationOrZero

OPERATOR_TOKEN_MIN = 16
"""Characters. An operator token can roll back production; 16 random ones cannot be guessed over HTTP."""

SIGNING_SECRET_MIN = 16
"""Characters. Slack's have 32 hex digits; whoever knows it can press every button as anybody."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_HEADER = re.compile(r"authorization|cookie|token|secret|key|password", re.IGNORECASE)
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def _url(value: str) -> str:
    """An absolute http(s) URL without credentials, query and trailing slash."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or any(char.isspace() for char in value):
        raise ValueError("is no URL; write it like https://host:port/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds credentials; put them into a secret setting, URLs are shown in logs")
    if parts.query or parts.fragment:
        raise ValueError("holds a query or fragment; write the address alone")
    return value.rstrip("/")


def listed(value: object) -> object:
    """Lists as tuples; one text, as the environment gives it, is split at commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _headers(value: Mapping[str, str]) -> Mapping[str, str]:
    for name, text in value.items():
        if _SECRET_HEADER.search(name):
            raise ValueError("names a header that looks secret; put it under secret_headers")
        if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
            raise ValueError("holds a control character in a value; remove it")
    return value


def _header_names(value: Mapping[str, object]) -> Mapping[str, object]:
    if not all(_HEADER_NAME.fullmatch(name) for name in value):
        raise ValueError("holds something that is no header name; use letters, digits and -")
    return value


Url = Annotated[str, AfterValidator(_url)]
TextMap = Annotated[Mapping[str, str], ReadOnly, AsTexts]
Headers = Annotated[Mapping[str, str], AfterValidator(_header_names), AfterValidator(_headers), ReadOnly, AsTexts]
SecretHeaders = Annotated[NamedSecrets, AfterValidator(_header_names)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(listed)]


def _empty() -> Mapping[str, str]:
    return MappingProxyType({})


def _no_secrets() -> NamedSecrets:
    return MappingProxyType({})


class Server(Section):
    """The HTTP endpoint: webhooks, operators, metrics and health.

    `webhook_tokens` (sender's name to bearer token) and `webhook_basic` (user to password) may inform, `operators`
    (person's name to token) may command. The default port follows Alertmanager's 9093 and 9094.
    """

    listen: str = "127.0.0.1:9095"
    body_limit: int = Field(default=16 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    webhook_tokens: NamedSecrets = Field(default_factory=_no_secrets)
    webhook_basic: NamedSecrets = Field(default_factory=_no_secrets)
    webhook_anonymous: bool = False
    operators: NamedSecrets = Field(default_factory=_no_secrets)

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not (port.isascii() and port.isdecimal() and int(port[:6]) <= 65535) or (":" in bare and bare == host):
            raise ValueError("is no address; write it like 127.0.0.1:9095, [::1]:9095 or :9095 for all interfaces")
        return value

    @field_validator("operators")
    @classmethod
    def _strong(cls, value: NamedSecrets) -> NamedSecrets:
        if not all(_PERSON.fullmatch(name) for name in value):
            raise ValueError("holds something that is no name; use letters, digits and . _ @ -")
        texts = [secret.get_secret_value() for secret in value.values()]
        if any(len(text) < OPERATOR_TOKEN_MIN for text in texts):
            raise ValueError(f"holds a token shorter than {OPERATOR_TOKEN_MIN} characters; generate a longer one")
        if len(set(texts)) < len(texts):
            raise ValueError("gives two people the same token; every act is journalled with its name")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        webhook = {*self.webhook_tokens.values(), *self.webhook_basic.values()}
        if webhook & set(self.operators.values()):
            raise ValueError("an operator token is also a webhook credential; webhooks must not be able to command")
        if not (webhook or self.webhook_anonymous or self.is_loopback):
            raise ValueError(
                "listens beyond loopback without webhook credentials; set webhook_tokens, webhook_basic, "
                "or webhook_anonymous: true"
            )
        return self

    @property
    def host(self) -> str:
        """The host part of `listen`, without brackets; empty means all interfaces."""
        return self.listen.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The TCP port; 0 takes any free one."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Kubernetes(Section):
    """The cluster's API: at most one of `url`, `kubeconfig`, `in_cluster: true`; with none, in-cluster where a service
    account is mounted, else the usual kubeconfig. `token` and `ca_file` go with `url`.
    """

    url: Url | None = None
    token: OptionalSecret = None
    ca_file: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    in_cluster: bool | None = None
    request_timeout: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is not None) + (self.kubeconfig is not None) + (self.in_cluster is True) > 1:
            raise ValueError("more than one of url, kubeconfig and in_cluster is set; keep one")
        if self.url is None and (self.token is not None or self.ca_file is not None):
            raise ValueError("token and ca_file go with url; set url, or put them into the kubeconfig")
        if self.context is not None and (self.url is not None or self.in_cluster is True):
            raise ValueError("context is a part of a kubeconfig; remove it, or set kubeconfig")
        return self


class Prometheus(Section):
    """Where signals are measured. `params` go with every query (Thanos: `dedup`, `partial_response`), `headers` too
    (Mimir: `X-Scope-OrgID`); a header with a credential belongs under `secret_headers`.
    """

    url: Url | None = None
    headers: Headers = Field(default_factory=_empty)
    secret_headers: SecretHeaders = Field(default_factory=_no_secrets)
    params: TextMap = Field(default_factory=_empty)
    timeout: Duration = timedelta(seconds=10)


class Alertmanager(Section):
    """Whose alerts are read back, all replicas of one cluster: the one that sends the webhooks, and all of its alerts.

    There is no filter on purpose: an alert that comes by webhook and is not listed would be taken for gone.
    For `settle` after its start an Alertmanager is not believed when an alert is missing: Prometheus sends again only
    after `--rules.alert.resend-delay` (1 m) at the next evaluation (1 m at most, usually).
    """

    urls: Urls = ()
    headers: Headers = Field(default_factory=_empty)
    secret_headers: SecretHeaders = Field(default_factory=_no_secrets)
    poll_interval: Duration = timedelta(seconds=30)
    settle: DurationOrZero = timedelta(minutes=2)
    timeout: Duration = timedelta(seconds=10)


class PagerDuty(Section):
    """PagerDuty Events API v2: `routing_key` is the integration key of the service that is paged."""

    routing_key: OptionalSecret = None
    base_url: Url = "https://events.pagerduty.com"

    @property
    def is_set(self) -> bool:
        """True when somebody can be paged."""
        return self.routing_key is not None


class Slack(Section):
    """Slack: `bot_token` and `channel` (one thread per incident), or `webhook_url` (its channel only, no updates).

    Buttons need one more secret: `signing_secret` where Slack can reach the server's address from outside (presses come
    to /api/v1/slack/interactions), or `app_token` for Socket Mode, where Lastgood calls Slack.
    """

    bot_token: OptionalSecret = None
    channel: str | None = None
    webhook_url: OptionalSecret = None
    signing_secret: OptionalSecret = None
    app_token: OptionalSecret = None
    base_url: Url = "https://slack.com/api"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.bot_token is not None and self.webhook_url is not None:
            raise ValueError("both bot_token and webhook_url are set; keep bot_token, it can do more")
        if (self.bot_token is None) != (self.channel is None):
            raise ValueError("bot_token and channel go together; set both, like channel: '#deploys'")
        url = self.webhook_url.get_secret_value() if self.webhook_url is not None else "https://slack"
        if not url.startswith(("https://", "http://")):
            raise ValueError("webhook_url is no URL; copy it from Slack's page of the incoming webhook")
        return self

    @model_validator(mode="after")
    def _one_door(self) -> Self:
        if self.signing_secret is not None and self.app_token is not None:
            raise ValueError(
                "both signing_secret and app_token are set; keep app_token for Socket Mode, signing_secret for a public URL"
            )
        if self.interactions != "off" and self.bot_token is None:
            raise ValueError(
                "signing_secret and app_token are for buttons, and those need bot_token; set it and channel"
            )
        if self.app_token is not None and not self.app_token.get_secret_value().startswith("xapp-"):
            raise ValueError("app_token is no app-level token; make one with connections:write, it begins with xapp-")
        if self.signing_secret is not None and len(self.signing_secret.get_secret_value()) < SIGNING_SECRET_MIN:
            raise ValueError(
                f"signing_secret is shorter than {SIGNING_SECRET_MIN} characters; copy it from the app's Basic Information"
            )
        return self

    @property
    def is_set(self) -> bool:
        """True when something can be announced."""
        return self.bot_token is not None or self.webhook_url is not None

    @property
    def interactions(self) -> Literal["off", "url", "socket"]:
        """How presses of buttons reach us; `off`: messages have no buttons."""
        if self.app_token is not None:
            return "socket"
        return "url" if self.signing_secret is not None else "off"


class Log(Section):
    """`auto` writes text on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Limits(Section):
    """What waits and what is let in at one time; beyond it senders get 503 and try again.

    `inbox` accepted events, or `inbox_bytes` characters of their alerts (four times as many bytes of memory): some 5 s of
    deciding. A longer queue accepts no more in a flood, but lets each alert wait longer. `connections`: their number bounds
    how long a decision waits for its turn, and how many files are open. `requests`: webhooks that are worked on; they share
    transactions, more would only wait. `drain`: what SIGTERM waits for running actions; keep it below the pod's
    terminationGracePeriodSeconds (30 s where unset).
    """

    inbox: int = Field(default=10_000, ge=1, le=1_000_000)
    inbox_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024, le=1024 * 1024 * 1024)
    connections: int = Field(default=256, ge=64, le=10_000)
    requests: int = Field(default=64, ge=1, le=10_000)
    drain: Duration = timedelta(seconds=20)
