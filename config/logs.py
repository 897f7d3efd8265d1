"""Logging: structlog for our code, the standard library's loggers routed through the same processors.

JSON off a terminal, text on one. Field names follow OpenTelemetry's semantic conventions where they exist; callers
write the short names of `SEMCONV`. Nothing that is configured as a secret leaves in a line, wherever in an event it
stands.

Call `configure` once the settings are loaded and again after a reload: it replaces what it set up before.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.sections import Log

SEMCONV: Mapping[str, str] = {
    "namespace": "k8s.namespace.name",
    "deployment": "k8s.deployment.name",
    "stateful_set": "k8s.statefulset.name",
    "daemon_set": "k8s.daemonset.name",
    "replica_set": "k8s.replicaset.name",
    "pod": "k8s.pod.name",
    "container": "k8s.container.name",
    "node": "k8s.node.name",
    "status_code": "http.response.status_code",
    "method": "http.request.method",
    "path": "url.path",
    "url": "url.full",
    "address": "server.address",
    "port": "server.port",
    "peer": "client.address",
    "error_type": "error.type",
    "logger": "log.logger",
    "cluster": "k8s.cluster.name",
    "workload": "lastgood.workload",
    "incident": "lastgood.incident",
    "action": "lastgood.action",
}
"""What callers write, and what is logged (OpenTelemetry semantic conventions 1.44; ours under `lastgood.`)."""

REDACTED = "[redacted]"

SECRET_MIN = 6
"""Characters. A shorter secret is hidden under its key only: cutting `abc` out of every line would hide the line."""

DEPTH_MAX = 12
"""Nesting beyond this is cut off, so that a cyclic value cannot hang the log."""

PINNED = {"kubernetes_asyncio.client.rest": logging.INFO}
"""Loggers that stay at a level: this one writes whole response bodies at DEBUG, Secrets included."""

_SECRET_WORDS = frozenset(
    {
        "token",
        "tokens",
        "authorization",
        "password",
        "passwd",
        "secret",
        "cookie",
        "credential",
        "credentials",
        "bearer",
    }
)
_SECRET_PAIRS = ("routing_key", "api_key", "private_key", "webhook_url")
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x0A}
_SCALARS = (bool, int, float, type(None))


def configure(log: Log, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Send all logging to `stream` (standard error where not given), as `log` says, without any of `secrets`."""
    target = stream if stream is not None else sys.stderr
    as_text = log.format == "text" or (log.format == "auto" and target.isatty())
    redactor = Redactor(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a reload must reach loggers that were used before it
    )
    handler = _Handler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _text_exception if as_text else _semconv_exception,
                _semconv,
                redactor,
                *([_escape, _text_renderer(target)] if as_text else [structlog.processors.JSONRenderer()]),
            ],
        )
    )
    _install(handler, log.level)


def _install(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    for old in [item for item in root.handlers if isinstance(item, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, pinned in PINNED.items():
        logging.getLogger(name).setLevel(max(pinned, root.level))
    logging.captureWarnings(capture=True)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a reload finds it; and one whose own faults do not print the record, secrets and all."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Say which logger's line was lost and why; without arguments and traceback."""
        kind = sys.exc_info()[0]
        try:
            self.stream.write(f"a log line of {record.name} was lost: {kind.__name__ if kind else 'unknown'}\n")
        except (OSError, ValueError):
            pass  # standard error itself is gone; there is nobody left to tell


class Redactor:
    """A structlog processor that removes secrets: by value anywhere in a text, and whole values under telling keys."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """`secrets` are values; each whitespace-separated part of one counts too (`Bearer …`)."""
        given = {text for secret in secrets for text in (secret, *secret.split())}
        self._secrets = sorted((text for text in given if len(text) >= SECRET_MIN), key=len, reverse=True)

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """The event without secrets; every value that is no plain scalar, list or mapping becomes its text."""
        return {self.text(str(key)): self._under(str(key), value, 0) for key, value in event.items()}

    def text(self, text: str) -> str:
        """`text` with every configured secret replaced."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    def _under(self, key: str, value: object, depth: int) -> object:
        if value is not None and not isinstance(value, bool) and is_secret_key(key):
            return REDACTED
        return self._value(value, depth)

    def _value(self, value: object, depth: int) -> object:
        if isinstance(value, _SCALARS):
            return value
        if depth >= DEPTH_MAX:
            return "…"
        if isinstance(value, str):
            return self.text(str(value))
        if isinstance(value, (bytes, bytearray)):
            return self.text(bytes(value).decode("utf-8", "replace"))
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._under(str(key), item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._value(item, depth + 1) for item in value]
        return self.text(str(value))


def is_secret_key(key: str) -> bool:
    """True for keys like `token`, `X-Auth-Token`, `routing_key`: their values are never logged."""
    plain = key.lower().replace("-", "_").replace(".", "_")
    return not _SECRET_WORDS.isdisjoint(plain.split("_")) or any(pair in plain for pair in _SECRET_PAIRS)


def _semconv(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Short names become those of the semantic conventions."""
    return {SEMCONV.get(key, key): value for key, value in event.items()}


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def _exception_of(event: MutableMapping[str, Any]) -> _ExcInfo | None:
    """The exception of an event, taken out of it; structlog allows True, an exception, or the triple."""
    given = event.pop("exc_info", None)
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if isinstance(given, tuple):
        return given if given[0] is not None else None
    found = sys.exc_info() if given else (None, None, None)
    return None if found[0] is None else found


def _semconv_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The exception as `exception.type`, `.message` and `.stacktrace`; local variables are never shown."""
    found = _exception_of(event)
    if found is not None:
        event["exception.type"] = found[0].__qualname__
        event["exception.message"] = str(found[1])
        event["exception.stacktrace"] = structlog.processors.format_exc_info(None, "", {"exc_info": found})["exception"]
    return event


def _text_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The exception as a plain traceback, made before the redaction so that it passes through it."""
    found = _exception_of(event)
    if found is not None:
        event["exception"] = structlog.processors.format_exc_info(None, "", {"exc_info": found})["exception"]
    return event


def _escape(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """No label value may move the cursor of a terminal or forge a second line; tracebacks keep their line breaks."""
    return {key: _escaped(value, keep_lines=key == "exception") for key, value in event.items()}


def _escaped(value: object, *, keep_lines: bool) -> object:
    if not isinstance(value, str):
        return value
    plain = value.translate(_CONTROL)
    return plain if keep_lines else plain.replace("\n", "\\n")


def _text_renderer(target: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=40
    )
