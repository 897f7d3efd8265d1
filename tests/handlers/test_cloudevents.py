"""CloudEvents 1.0: binary, structured and batch, over HTTP's headers and as MQTT hands them over."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.notices import Notice, NoticeStatus
from handlers.alerts import MalformedError
from handlers.cloudevents import BATCH_MAX, header_attributes, notices_of
from handlers.notice_fields import UnsupportedError
from tests.handlers.events_world import DIGEST, JSON, WEB, plain, raw, sender, understood_or_refused

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
ATTRIBUTES = {
    "specversion": "1.0",
    "id": "run-512",
    "source": "/jenkins/web",
    "type": "dev.lastgood.deployment.finished",
    "time": "2026-11-20T11:58:30Z",
}
DATA = {"namespace": "shop", "name": "web", "digest": DIGEST}


def envelope(**changes: Any) -> dict[str, Any]:
    """A structured event; a change to None leaves the attribute out."""
    event = {**ATTRIBUTES, "datacontenttype": "application/json", "data": DATA, **changes}
    return {name: value for name, value in event.items() if value is not None}


def read(content_type: str | None, body: object, attributes: dict[str, str] | None = None) -> tuple[Notice, ...]:
    return notices_of(content_type, attributes or {}, body if isinstance(body, bytes) else raw(body), sender())


def fault(content_type: str | None, body: object, attributes: dict[str, str] | None = None) -> str:
    with pytest.raises(MalformedError) as caught:
        read(content_type, body, attributes)
    return str(caught.value)


@pytest.mark.parametrize(
    "media", [STRUCTURED, "Application/CloudEvents+JSON; charset=utf-8", "application/cloudevents"]
)
def test_structured(media: str) -> None:
    """One JSON object holds attributes and data; extensions are left alone."""
    (notice,) = read(media, envelope(traceparent="00-abc", dataschema="https://example/schema"))
    assert (notice.id, notice.status, notice.workload) == ("/jenkins/web#run-512", NoticeStatus.SUCCEEDED, WEB)
    assert notice.digests == (DIGEST,)


def test_binary() -> None:
    """Attributes stand beside the body, which is the data; Content-Type is the data's."""
    assert read("application/json", DATA, ATTRIBUTES) == read(STRUCTURED, envelope())
    assert read("application/vnd.shop.deploy+json; charset=utf-8", DATA, ATTRIBUTES) == read(STRUCTURED, envelope())
    assert read(None, DATA, ATTRIBUTES) == read(STRUCTURED, envelope())


def test_batch() -> None:
    """Several events in one array become notices in their order; an empty one is nothing."""
    notices = read(BATCH, [envelope(), envelope(id="run-513"), envelope(type="com.example.other")])
    assert [notice.id for notice in notices] == ["/jenkins/web#run-512", "/jenkins/web#run-513"]
    assert read(BATCH, []) == ()


def test_structured_without_a_content_type() -> None:
    """MQTT 3.1.1 has no content type: `specversion` tells."""
    assert read(None, envelope()) == read(STRUCTURED, envelope())
    assert read("application/json", envelope()) == read(STRUCTURED, envelope())


def test_data_in_base64() -> None:
    """`data_base64` holds the bytes of the data."""
    encoded = base64.b64encode(raw(DATA)).decode()
    assert read(STRUCTURED, envelope(data=None, data_base64=encoded)) == read(STRUCTURED, envelope())


def test_plain_json_is_no_cloudevent() -> None:
    """Our own JSON is read under application/json, and without any content type."""
    assert read("application/json", plain()) == read(None, plain())
    assert read(None, plain())[0].workload == WEB


def test_a_foreign_type_says_nothing_and_its_data_is_not_read() -> None:
    """Whatever others send on the same topic is no fault."""
    assert read(STRUCTURED, envelope(type="com.example.order", data="x", datacontenttype="text/xml")) == ()
    assert read("application/octet-stream", b"\xff\x00", {**ATTRIBUTES, "type": "com.example.order"}) == ()


def test_the_time_may_stand_in_the_data() -> None:
    """`time` is optional in CloudEvents, but a notice needs its moment."""
    said = {**DATA, "time": "2026-11-20T11:58:30Z"}
    assert read(STRUCTURED, envelope(time=None, data=said)) == read(STRUCTURED, envelope())
    assert fault(STRUCTURED, envelope(time=None)) == "data.time: is missing"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"specversion": "0.3"}, 'specversion: must be "1.0"'),
        ({"specversion": None}, "type: must be"),
        ({"specversion": 1.0}, "specversion: must be a string, is a number"),
        ({"id": None}, "id: is missing"),
        ({"source": ""}, "source: is missing"),
        ({"type": None}, "type: is missing"),
        ({"time": "noon"}, "time: is no RFC 3339 time"),
        ({"data": None}, "data: must be an object, is null"),
        ({"data": "x"}, "data: must be an object, is a string"),
        ({"data": {"namespace": "shop", "name": "W"}}, "data.name: is no workload"),
        ({"datacontenttype": "application/xml"}, "datacontenttype: must be JSON"),
        ({"data_base64": "e30="}, "data_base64: is given beside data: give one of them"),
        ({"data": None, "data_base64": "!"}, "data_base64: is not Base64"),
        ({"data": None, "data_base64": "eA=="}, "data_base64: is not JSON"),
    ],
)
def test_each_fault_is_named(changes: dict[str, Any], said: str) -> None:
    """By its attribute, alone as well as in a batch, where its number stands before."""
    if "specversion" in changes and changes["specversion"] is None:
        assert fault(STRUCTURED, envelope(**changes)).startswith("specversion: is missing")
        return
    assert fault(STRUCTURED, envelope(**changes)).startswith(said)
    assert fault(BATCH, [envelope(), envelope(**changes)]).startswith(f"[1].{said}")


@pytest.mark.parametrize(
    ("media", "body", "said"),
    [
        (STRUCTURED, b'{"specversion": "1.0"', "body: is not JSON"),
        (STRUCTURED, [], "body: must be an object, is an array"),
        (BATCH, envelope(), "body: must be an array of CloudEvents, is an object"),
        (BATCH, [1], "[0]: must be an object, is a number"),
        (BATCH, [envelope()] * (BATCH_MAX + 1), "body: has 101 events, at most 100 are taken at once"),
        ("application/json", b"", "body: is not JSON"),
        (None, b"\xff", "body: is not UTF-8"),
    ],
)
def test_bodies_that_are_none(media: str | None, body: object, said: str) -> None:
    """Truncated, of another shape, or too many."""
    assert fault(media, body).startswith(said)


@pytest.mark.parametrize(
    "media", ["application/cloudevents+avro", "application/cloudevents-batch+xml", "text/plain", "text/xml"]
)
def test_other_formats_are_not_supported(media: str) -> None:
    """They are told apart from what is malformed, so that HTTP can answer 415."""
    with pytest.raises(UnsupportedError, match="content-type"):
        read(media, envelope())


def test_binary_data_of_another_type_is_not_supported() -> None:
    """An event that would matter, in XML."""
    with pytest.raises(UnsupportedError, match=r"content-type: must be JSON"):
        read("application/xml", b"<x/>", ATTRIBUTES)


def test_binary_without_its_version() -> None:
    """The other three attributes beside the body mean a CloudEvent whose version is missing."""
    said = fault("application/json", DATA, {name: ATTRIBUTES[name] for name in ("id", "source", "type")})
    assert said == "specversion: is missing"


def test_headers_become_attributes() -> None:
    """Without their prefix, unquoted, percent-decoded once; other headers are none."""
    found = header_attributes(
        [("Ce-Id", "a%20b%2520"), ("CE-SOURCE", '"/x%22\\"y"'), ("ce-subject", "Gr%C3%BC%C3%9Fe"), ("Host", "x")]
    )
    assert found == {"id": "a b%20", "source": '/x""y', "subject": "Grüße"}


@pytest.mark.parametrize(
    ("headers", "said"),
    [([("ce-id", "%FF")], "ce-id: is not UTF-8"), ([("ce-id", "a"), ("Ce-Id", "b")], "ce-id: is given twice")],
)
def test_headers_that_are_none(headers: list[tuple[str, str]], said: str) -> None:
    """Invalid UTF-8 must be refused (HTTP binding §3.1.3.2), and of two values none is right."""
    with pytest.raises(MalformedError, match=said):
        header_attributes(headers)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([STRUCTURED, BATCH, "application/json", None]),
    st.dictionaries(st.sampled_from([*envelope(), "data_base64"]), JSON, max_size=3),
    JSON,
)
def test_any_json_is_understood_or_refused(media: str | None, changes: dict[str, Any], value: object) -> None:
    """Nonsense in any attribute, and instead of the whole."""
    event = {**envelope(), **changes}
    understood_or_refused(lambda: read(media, [event] if media == BATCH else event))
    understood_or_refused(lambda: read(media, value))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.dictionaries(st.sampled_from([*ATTRIBUTES]), st.text(max_size=20)), st.binary())
def test_any_message_is_understood_or_refused(media: str, attributes: dict[str, str], body: bytes) -> None:
    """Any content type, attributes and bytes."""
    understood_or_refused(lambda: read(media, body, attributes))
    understood_or_refused(lambda: read("application/json", body, {**ATTRIBUTES, **attributes}))
