"""One alert on the wire, as Alertmanager writes it in webhooks and in its API: JSON in, `Alert` out.

Translated here once for both roads. Whatever does not fit is refused with the path of the field, so that whoever sent
it can repair it; what is merely too long is cut: a hostile label must neither break a message nor hide an alert.
Source: Alertmanager's notify/webhook, template and api/v2/openapi.yaml (protocols §1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

from daemon.core.model import Alert, AlertStatus

LABEL_CHARS_MAX = 4096
"""Longest label value that is kept. Kubernetes names end at 253 characters, so no cut value ever named an object; the
mark that replaces the rest makes sure that it does not name another one now."""

ANNOTATION_CHARS_MAX = 8192
"""Longest annotation that is kept: a long runbook text, no document."""

URL_CHARS_MAX = 8192
"""Longest generatorURL that is kept (it holds the rule's expression); a longer one is dropped: half a link is none."""

PAIRS_MAX = 256
"""Most labels, or annotations, of one alert; Prometheus rules have a dozen."""

NAME_CHARS_MAX = 1024
"""Longest name of a label or annotation."""

FINGERPRINT_CHARS_MAX = 64
"""Alertmanager writes 16 hex digits; other senders of the same format may write more."""

PROBLEM_CHARS_MAX = 160
"""Longest explanation in an answer: Alertmanager writes it into its log."""

MOMENTS_KEPT = 4096
"""Times of alerts that are remembered as read: each alert is sent again with every change of its group."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""Alerts start between these. Outside of them lies Go's zero time, and arithmetic there overflows."""

FINGERPRINT = re.compile(rf"[0-9A-Za-z_-]{{1,{FINGERPRINT_CHARS_MAX}}}")


class MalformedError(Exception):
    """The input is not what its format promises. `field` is the path to it, such as `alerts[3].fingerprint`."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem[:PROBLEM_CHARS_MAX]
        super().__init__(f"{self.field}: {self.problem}")


def parse_json(body: bytes, what: str) -> object:
    """The JSON value in `body`. Raises MalformedError naming `what`; never anything else, however hostile the bytes."""
    try:
        # Strictly UTF-8 (RFC 8259 §8.1): json.loads would guess UTF-16 and -32 too.
        value: object = json.loads(body.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as exc:
        raise MalformedError(what, f"is not UTF-8 (byte {exc.start})") from None
    except json.JSONDecodeError as exc:
        raise MalformedError(what, f"is not JSON ({exc.msg} at line {exc.lineno} column {exc.colno})") from None
    except RecursionError:
        raise MalformedError(what, "is nested too deeply") from None
    except ValueError:
        raise MalformedError(what, "is not JSON (holds a number that cannot be read)") from None
    return value


def _no_constant(name: str) -> object:
    raise ValueError(name)


def object_of(value: object, path: str) -> Mapping[str, object]:
    """`value` as a JSON object. Raises MalformedError."""
    if not isinstance(value, dict):
        raise MalformedError(path, f"must be an object, is {kind_of(value)}")
    return value


def kind_of(value: object) -> str:
    """What JSON calls the value, with its article: for messages that must not repeat hostile content."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds = ((str, "a string"), ((int, float), "a number"), (list, "an array"))
    return next((name for types, name in kinds if isinstance(value, types)), "an object")


def alert_of(raw: object, path: str, status: AlertStatus) -> Alert:
    """The alert in `raw`, a JSON object found at `path`. Raises MalformedError.

    `status` is found by the caller: webhook and API write it differently. `endsAt` is not read: it is zero in webhooks
    and in the future in the API while the alert fires.
    """
    entry = object_of(raw, path)
    return Alert(
        fingerprint=_fingerprint(entry, path),
        status=status,
        labels=_pairs(entry.get("labels"), f"{path}.labels", LABEL_CHARS_MAX),
        annotations=_pairs(_or_empty(entry.get("annotations")), f"{path}.annotations", ANNOTATION_CHARS_MAX),
        starts_at=moment(entry.get("startsAt"), f"{path}.startsAt"),
        generator_url=_url(entry.get("generatorURL"), f"{path}.generatorURL"),
    )


def _or_empty(raw: object) -> object:
    """Annotations may be missing: nothing is decided by them."""
    return {} if raw is None else raw


def _fingerprint(entry: Mapping[str, object], path: str) -> str:
    value = entry.get("fingerprint")
    if value is None:
        raise MalformedError(f"{path}.fingerprint", "is missing")
    if not isinstance(value, str) or not FINGERPRINT.fullmatch(value):
        raise MalformedError(f"{path}.fingerprint", f"must be 1 to {FINGERPRINT_CHARS_MAX} letters and digits")
    return value


def _pairs(raw: object, path: str, chars_max: int) -> tuple[tuple[str, str], ...]:
    """Labels or annotations, sorted by name so that equal alerts are equal values."""
    if raw is None:
        raise MalformedError(path, "is missing")
    entries = object_of(raw, path)
    if len(entries) > PAIRS_MAX:
        raise MalformedError(path, f"has {len(entries)} entries, at most {PAIRS_MAX} are taken")
    return tuple(sorted((_name(name, path), _cut(value, name, path, chars_max)) for name, value in entries.items()))


def _name(name: str, path: str) -> str:
    if len(name) > NAME_CHARS_MAX:
        raise MalformedError(path, f"has a name of {len(name)} characters, at most {NAME_CHARS_MAX} are taken")
    return _unicode(name, path)


def _cut(value: object, name: str, path: str, chars_max: int) -> str:
    # The name is written as JSON and short: it comes from outside and goes into a one-line answer.
    where = f"{path}[{json.dumps(name[:80])}]"
    if not isinstance(value, str):
        raise MalformedError(where, f"must be a string, is {kind_of(value)}")
    if len(value) <= chars_max:
        return _unicode(value, where)
    return _unicode(f"{value[:chars_max]}… [{len(value) - chars_max} more characters cut]", where)


def _unicode(text: str, path: str) -> str:
    """`text`, if it can be written as UTF-8 at all: JSON can spell half of a surrogate pair, the journal cannot."""
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise MalformedError(path, "holds half of a surrogate pair, which is no character")
    return text


def _url(raw: object, path: str) -> str:
    if raw is None:
        return ""
    if not isinstance(raw, str):
        raise MalformedError(path, f"must be a string, is {kind_of(raw)}")
    return _unicode(raw, path) if len(raw) <= URL_CHARS_MAX else ""


def moment(raw: object, path: str) -> datetime:
    """An RFC 3339 time with a zone, in UTC, cut to microseconds (Go writes nanoseconds). Raises MalformedError."""
    if raw is None:
        raise MalformedError(path, "is missing")
    if not isinstance(raw, str):
        raise MalformedError(path, f"must be a string, is {kind_of(raw)}")
    try:
        utc = _utc(raw[:64])
    except (ValueError, OverflowError):
        raise MalformedError(path, "is no RFC 3339 time") from None
    if utc is None:
        raise MalformedError(path, "has no time zone")
    if not EARLIEST <= utc < LATEST:
        raise MalformedError(path, f"lies outside of {EARLIEST.year} to {LATEST.year - 1}")
    return utc


@lru_cache(maxsize=MOMENTS_KEPT)
def _utc(text: str) -> datetime | None:
    value = datetime.fromisoformat(text)
    return value.astimezone(UTC) if value.tzinfo else None


def distinct(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """The alerts in their order, each (fingerprint, start, status) once: a merged group may list one twice."""
    return tuple({(alert.fingerprint, alert.starts_at, alert.status): alert for alert in alerts}.values())


_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """The fingerprint that Alertmanager gives to an alert with these labels: 16 hex digits.

    64-bit FNV-1a over the labels sorted by name, each name and each value followed by the byte 0xff
    (prometheus/common model/signature.go, `labelSetToFingerprint`; offset and prime are those of Fowler, Noll, Vo).
    """
    value = _FNV_OFFSET
    for name, content in sorted(labels.items(), key=lambda pair: pair[0].encode()):
        for byte in name.encode() + b"\xff" + content.encode() + b"\xff":
            value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"
