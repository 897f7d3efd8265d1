"""The section `mqtt`: deployment events from a broker.

What is published on its topics informs about rollouts. The broker decides who may publish there, so whoever may is trusted as
far as `may_cause` says.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.credentials import OptionalSecret, Section
from config.durations import Duration
from config.sections import listed

PORTS = {"mqtt": 1883, "mqtts": 8883}
"""The registered ports (IANA): plain, and with TLS."""

TOPIC_BYTES_MAX = 65_535
"""A string's length has two bytes in MQTT (MQTT 5, 1.5.4)."""

TOPICS_MAX = 100
"""All go into one SUBSCRIBE packet; nobody needs more, topics have wildcards."""

_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_GROUP = re.compile(r"[^/+#\s]{1,128}")


def _broker(value: str) -> str:
    """`mqtt://host[:port]`, or mqtts for TLS, and nothing else in it."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "holds credentials; put them into mqtt.username and mqtt.password, addresses are shown in logs"
        )
    rest = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in PORTS or not host or rest or any(char.isspace() for char in value):
        raise ValueError("is no broker's address; write it like mqtts://host:8883 (mqtt:// without TLS)")
    return value.rstrip("/")


def _topic(value: str) -> str:
    """A topic filter (MQTT 5, 4.7): levels between slashes, `+` for one level, `#` for all that follow."""
    if value.startswith("$share/"):
        raise ValueError("is a shared subscription; write the topic alone, and the group as mqtt.shared_group")
    levels = value.split("/")
    wild = any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]
    if not value or wild or not value.isprintable() or len(value.encode()) > TOPIC_BYTES_MAX:
        raise ValueError(
            "is no topic filter; write it like lastgood/deployments/# (+ for one level, # only at the end)"
        )
    return value


def _topics(value: tuple[str, ...]) -> tuple[str, ...]:
    if not 0 < len(value) <= TOPICS_MAX or len(set(value)) < len(value):
        raise ValueError(f"needs 1 to {TOPICS_MAX} topics, each once; leave it out for the default")
    return value


def _qos(value: object) -> object:
    if value == 0 and not isinstance(value, bool):
        raise ValueError("is 0, which a broker never delivers again: a crash would lose messages; write 1")
    return value


def _matching(pattern: re.Pattern[str], remedy: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(remedy)
        return value

    return AfterValidator(check)


class Mqtt(Section):
    """Deployment events over MQTT 5; off without a `url`.

    `session_expiry` is how long the broker keeps messages while we are away. `receive_maximum` messages at most are under way
    to us, of at most `body_limit` bytes each: their product is the memory a flood can take. `may_cause` lets failure events of
    these topics open incidents; without it they only inform.
    """

    url: Annotated[str, AfterValidator(_broker)] | None = None
    topics: Annotated[
        tuple[Annotated[str, AfterValidator(_topic)], ...], BeforeValidator(listed), AfterValidator(_topics)
    ] = ("lastgood/deployments/#",)
    qos: Annotated[int, BeforeValidator(_qos), Field(ge=1, le=2)] = 1
    client_id: Annotated[str, _matching(_CLIENT_ID, "is no client id; use letters, digits and . _ : -")] | None = None
    shared_group: Annotated[str, _matching(_GROUP, "is no group; write a word without / + #")] | None = None
    session_expiry: Duration = timedelta(hours=24)
    username: str | None = None
    password: OptionalSecret = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    receive_maximum: int = Field(default=20, ge=1, le=65_535)
    body_limit: int = Field(default=256 * 1024, ge=1024, le=16 * 1024 * 1024)
    may_cause: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.password is not None and self.username is None:
            raise ValueError("password goes with username; set both")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together; set both, or neither")
        if (self.ca_file or self.cert_file) and not self.is_tls:
            raise ValueError("ca_file, cert_file and key_file need TLS; write the url with mqtts://")
        if self.may_cause and self.username is None and self.cert_file is None:
            raise ValueError(
                "may_cause needs a broker that knows its users; set username and password, or a certificate"
            )
        seconds = self.session_expiry.total_seconds()
        if not 1 <= seconds < 0xFFFFFFFF or seconds % 1:
            raise ValueError("session_expiry must be whole seconds, at least 1s and less than 136y")
        return self

    @property
    def is_set(self) -> bool:
        """True when a broker is used."""
        return self.url is not None

    @property
    def is_tls(self) -> bool:
        """True when the connection is encrypted."""
        return self.url is not None and self.url.startswith("mqtts:")

    @property
    def host(self) -> str:
        """The broker's host; empty without a url."""
        return urlsplit(self.url or "").hostname or ""

    @property
    def port(self) -> int:
        """The broker's port: as written, else 1883, or 8883 with TLS."""
        parts = urlsplit(self.url or "mqtt:")
        return parts.port or PORTS[parts.scheme]


def warnings_of(mqtt: Mqtt) -> list[str]:
    """What is allowed but may surprise, one line each."""
    found = []
    local = mqtt.host in ("localhost", "127.0.0.1", "::1")
    if mqtt.is_set and not mqtt.is_tls and not local:
        found.append("mqtt.url: without TLS; credentials and events cross the network readable, and can be forged")
    if mqtt.is_set and mqtt.username is None and mqtt.cert_file is None:
        found.append("mqtt.username: not set; if the broker lets us in so, whoever reaches it may publish events too")
    if mqtt.is_set and "#" in mqtt.topics:
        found.append("mqtt.topics: # subscribes to everything of the broker; what is no deployment event is refused")
    return found
