"""Logs: one JSON object a line off a terminal, semantic field names, and no secret in any form."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
import structlog

from config import logs
from config.sections import Log

SECRET = 'planted-"secret"-värde'
Lines = Callable[[], list[dict[str, Any]]]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """As a terminal does."""
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Give the root logger and structlog back as they were."""
    root = logging.getLogger()
    library = logging.getLogger("kubernetes_asyncio.client.rest")
    level, library_level = root.level, library.level
    yield
    for handler in [item for item in root.handlers if type(item).__module__ == logs.__name__]:
        root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    library.setLevel(library_level)
    structlog.reset_defaults()


def configured(
    log_format: Literal["auto", "json", "text"] = "auto",
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: io.StringIO | None = None,
) -> io.StringIO:
    """Logging into a text stream, with SECRET configured."""
    target = stream if stream is not None else io.StringIO()
    logs.configure(Log(level=level, format=log_format), [SECRET, "Bearer planted-bearer", "abc"], target)
    return target


def only_line(stream: io.StringIO) -> dict[str, Any]:
    """The single JSON line written."""
    (line,) = stream.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_json_with_semantic_names() -> None:
    """Off a terminal a line is JSON: UTC time, level, event, and OpenTelemetry's names for what has one."""
    stream = configured()
    names = {"namespace": "shop", "deployment": "web", "stateful_set": "db", "daemon_set": "agent"}
    structlog.get_logger("daemon.test").info("rolled back", **names, status_code=200, n=1.5)
    line = only_line(stream)
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.tzinfo == UTC
    assert line == {
        "event": "rolled back",
        "level": "info",
        "log.logger": "daemon.test",
        "k8s.namespace.name": "shop",
        "k8s.deployment.name": "web",
        "k8s.statefulset.name": "db",
        "k8s.daemonset.name": "agent",
        "http.response.status_code": 200,
        "n": 1.5,
    }


def test_text_on_a_terminal() -> None:
    """On a terminal `auto` writes text; the same events are JSON when asked for."""
    stream = configured(stream=Terminal())
    structlog.get_logger().info("hello", namespace="shop")
    assert "hello" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    stream = configured("json", stream=Terminal())
    structlog.get_logger().info("hello")
    assert only_line(stream)["event"] == "hello"


def test_standard_library_goes_the_same_way() -> None:
    """A library's record becomes the same kind of line, `extra` fields and warnings included."""
    stream = configured()
    logging.getLogger("aiohttp.access").warning("slow %s", "answer", extra={"peer": "10.0.0.1"})
    line = only_line(stream)
    assert (line["event"], line["log.logger"], line["client.address"]) == ("slow answer", "aiohttp.access", "10.0.0.1")
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old thing", stacklevel=1)
    assert "old thing" in only_line(stream)["event"]


def fail() -> None:
    """Raise with SECRET in the error and its cause."""
    raise RuntimeError(f"cannot reach {SECRET}") from ValueError(SECRET)


def log_everything() -> None:
    """Log SECRET in every place an event can hold one."""

    class Holder:
        def __repr__(self) -> str:
            return f"Holder({SECRET})"

    log = structlog.get_logger()
    log.info(SECRET, value=SECRET)
    log.info("positional %s", SECRET)
    log.info("nested", a={"b": [{"c": (SECRET, {SECRET})}]}, **{f"key-{SECRET}": 1})
    log.info("bytes and objects", raw=SECRET.encode(), holder=Holder(), items=[Holder()])
    log.info("a part", header="x planted-bearer y")
    logging.getLogger("lib").warning("lib %s", SECRET, extra={"field": {"deep": SECRET}})
    try:
        fail()
    except RuntimeError as error:
        log.exception("failed")
        log.error("failed too", exc_info=error)
        logging.getLogger("lib").exception("lib failed")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_value_gets_out(log_format: Literal["json", "text"]) -> None:
    """A configured secret is removed from texts, nested values, keys, bytes, objects and tracebacks."""
    stream = configured(log_format)
    log_everything()
    written = stream.getvalue()
    for form in (SECRET, json.dumps(SECRET)[1:-1], repr(SECRET)[1:-1], "planted-bearer"):
        assert form not in written
    assert written.count(logs.REDACTED) >= 15
    assert "was lost" not in written


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "Authorization",
        "X-Auth-Token",
        "password",
        "routing_key",
        "slack.bot_token",
        "api-key",
        "client_secret",
    ],
)
def test_values_under_telling_keys(key: str) -> None:
    """What stands under a key that names a secret is removed whole, at any depth, also when nobody configured it."""
    stream = configured()
    structlog.get_logger().info("x", **{key: "unknown-1"}, deep=[{key: {"a": ["unknown-2"]}}])
    assert "unknown-" not in stream.getvalue()
    assert only_line(stream)[key] == logs.REDACTED


def test_harmless_keys_and_short_secrets_stay() -> None:
    """`dedup_key` is no secret, a null stays a null, and a secret of three letters does not eat every `abc`."""
    stream = configured()
    structlog.get_logger().info("abc", dedup_key="k/abc", token=None, has_token=True)
    line = only_line(stream)
    assert (line["event"], line["dedup_key"], line["token"], line["has_token"]) == ("abc", "k/abc", None, True)


def test_cyclic_value_ends() -> None:
    """A value that holds itself is cut off instead of hanging the log."""
    stream = configured()
    loop: list[object] = []
    loop.append(loop)
    structlog.get_logger().info("x", loop=loop)
    assert "…" in json.dumps(only_line(stream), ensure_ascii=False)


def test_no_forged_lines_on_a_terminal() -> None:
    """Line breaks and escape codes in a label's value stay within their line, escaped."""
    stream = configured("text")
    structlog.get_logger().info("alert", label="a\n2026-01-01 forged \x1b[2J")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_body_logger_is_pinned() -> None:
    """The Kubernetes client's body logger stays at INFO when all else is at DEBUG."""
    stream = configured(level="debug")
    logging.getLogger("kubernetes_asyncio.client.rest").debug("response body: secrets")
    logging.getLogger("other").debug("seen")
    assert only_line(stream)["event"] == "seen"


def test_reload_replaces() -> None:
    """A second `configure` takes the place of the first, for loggers already in use too."""
    first = configured()
    log = structlog.get_logger()
    log.info("one")
    second = configured(level="warning")
    log.info("two")
    log.warning("three")
    assert only_line(first)["event"] == "one"
    assert only_line(second)["event"] == "three"


def test_faulty_record_is_told_without_its_content() -> None:
    """A record that cannot be formatted neither raises nor prints its arguments."""
    stream = configured()
    (ours,) = [item for item in logging.getLogger().handlers if type(item).__module__ == logs.__name__]
    ours.handle(
        logging.LogRecord("lib", logging.WARNING, "", 1, "%d items", (SECRET,), None)
    )  # pytest's handler raises
    assert stream.getvalue() == "a log line of lib was lost: TypeError\n"
