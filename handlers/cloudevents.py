"""CloudEvents 1.0, and what is no CloudEvent: from a message's content type, attributes and body to notices.

One reading for HTTP and MQTT 5, whose bindings differ only in where attributes stand: HTTP headers with `ce-` before
the name, MQTT user properties with the bare name. Binary mode: attributes beside a body of data. Structured mode: one
JSON object holds both. Batch: a JSON array of those. A body that is none of these is our plain JSON.
Source: cloudevents/spec 1.0.2, spec.md, formats/json-format.md, bindings/http-protocol-binding.md and mqtt-….
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote_to_bytes

from daemon.core.notices import Notice
from handlers import cdevents
from handlers.alerts import MalformedError, kind_of, object_of, parse_json
from handlers.notice_fields import Fields, UnsupportedError
from handlers.notice_input import Stamp, identity, plain_notice, stated, status_of
from handlers.notice_mapping import Sender

PREFIX = "ce-"

BATCH_MAX = 100
"""Most events in one batch; each becomes a journal entry before the sender is answered."""

_REQUIRED = {"specversion", "id", "source", "type"}
_JSON = re.compile(r"(?:application|text)/(?:[!-~]+\+)?json")


def header_attributes(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The attributes in HTTP headers: without `ce-`, unquoted, percent-decoded once. Raises MalformedError."""
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if not lower.startswith(PREFIX):
            continue
        if lower[len(PREFIX) :] in found:
            raise MalformedError(lower[:40], "is given twice")
        found[lower[len(PREFIX) :]] = _decoded(value, lower[:40])
    return found


def _decoded(value: str, name: str) -> str:
    bare = value.strip()
    if len(bare) >= 2 and bare[0] == bare[-1] == '"':
        bare = re.sub(r"\\(.)", r"\1", bare[1:-1])
    try:
        # aiohttp decodes headers with surrogateescape; the bytes as sent are what was percent-encoded.
        return unquote_to_bytes(bare.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise MalformedError(name, "is not UTF-8") from None


def notices_of(
    content_type: str | None, attributes: Mapping[str, str], body: bytes, sender: Sender
) -> tuple[Notice, ...]:
    """The notices in one message; none where its events say nothing about a rollout here.

    `attributes` are the CloudEvents attributes beside the body, in lower case and without prefix. Raises MalformedError
    naming the field, UnsupportedError (one of them) for a content type that is not read here.
    """
    media = (content_type or "").partition(";")[0].strip().lower()
    if media.startswith("application/cloudevents-batch"):
        _only_json(media, "application/cloudevents-batch")
        return _batch(parse_json(body, "body"), sender)
    if media.startswith("application/cloudevents"):
        _only_json(media, "application/cloudevents")
        return _structured(Fields(object_of(parse_json(body, "body"), "body")), sender)
    if "specversion" in attributes or _REQUIRED - {"specversion"} <= attributes.keys():
        return _event(Fields(attributes), sender, lambda: _binary(body, media))
    if media and not _JSON.fullmatch(media):
        raise UnsupportedError("content-type", "must be application/json, or one of CloudEvents in JSON")
    return _bare(Fields(object_of(parse_json(body, "body"), "body")), sender)


def _only_json(media: str, prefix: str) -> None:
    """Avro, Protobuf and XML forms of CloudEvents are not read."""
    if media not in (prefix, f"{prefix}+json"):
        raise UnsupportedError("content-type", f"only the JSON format is read: {prefix}+json")


def _batch(events: object, sender: Sender) -> tuple[Notice, ...]:
    """All or nothing: one event that is malformed refuses the batch, so that the sender knows what was kept."""
    if not isinstance(events, list):
        raise MalformedError("body", f"must be an array of CloudEvents, is {kind_of(events)}")
    if len(events) > BATCH_MAX:
        raise MalformedError("body", f"has {len(events)} events, at most {BATCH_MAX} are taken at once")
    found: list[Notice] = []
    for index, event in enumerate(events):
        found += _structured(Fields(object_of(event, f"[{index}]"), f"[{index}]"), sender)
    return tuple(found)


def _bare(fields: Fields, sender: Sender) -> tuple[Notice, ...]:
    """A JSON object whose content type says no more: MQTT 3.1.1 has none, and `curl` users forget it."""
    if "specversion" in fields.entry:
        return _structured(fields, sender)
    if "context" in fields.entry:
        return cdevents.cdevent(fields.entry, "", sender)
    return plain_notice(fields, sender)


def _structured(fields: Fields, sender: Sender) -> tuple[Notice, ...]:
    return _event(fields, sender, lambda: _data_of(fields))


def _event(envelope: Fields, sender: Sender, data: Callable[[], object]) -> tuple[Notice, ...]:
    """The notice in one event; its data is only read where its type says something about a rollout."""
    if envelope.name("specversion") != "1.0":
        raise MalformedError(envelope.at("specversion"), 'must be "1.0"')
    id_ = identity(envelope.name("source"), envelope.name("id"))
    kind = envelope.name("type")
    at = envelope.moment("time") if envelope.string("time") is not None else None
    status = status_of(kind)
    if status is None and not cdevents.concerns(kind):
        return ()
    content = Fields(object_of(data(), envelope.at("data")), envelope.at("data"))
    if status is None:
        return cdevents.cdevent(content.entry, content.path, sender)
    # `time` is optional in CloudEvents, but a notice without its moment belongs to no rollout.
    return stated(content, sender, Stamp(id=id_, at=at or content.moment("time"), status=status))


def _data_of(envelope: Fields) -> object:
    """The data of a structured event: a JSON value under `data`, or JSON in Base64 under `data_base64`."""
    kind = envelope.string("datacontenttype")
    media = kind.partition(";")[0].strip().lower() if kind is not None else None
    if media is not None and not _JSON.fullmatch(media):
        raise MalformedError(envelope.at("datacontenttype"), "must be JSON: data of other types is not read")
    encoded = envelope.string("data_base64")
    if encoded is None:
        return envelope.entry.get("data")
    if envelope.entry.get("data") is not None:
        raise MalformedError(envelope.at("data_base64"), "is given beside data: give one of them")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError(envelope.at("data_base64"), "is not Base64") from None
    return parse_json(raw, envelope.at("data_base64"))


def _binary(body: bytes, media: str) -> object:
    if media and not _JSON.fullmatch(media):
        raise UnsupportedError(
            "content-type", "must be JSON, such as application/json: data of other types is not read"
        )
    return parse_json(body, "data")
