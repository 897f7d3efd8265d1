"""Reading what people send: the strict fields of a command and the parameters of a question, each within its limit.

Everything wrong raises MalformedError with the field's name and the remedy, or BodyRefusedError for the whole body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aiohttp import web

from config import durations
from daemon.core.incidents import Word
from daemon.core.model import DECLARABLE, DeclaredCause
from handlers import plain
from handlers.alerts import MalformedError, kind_of, object_of, parse_json
from handlers.server import read_body

BODY_BYTES_MAX = 16 * 1024
"""Largest command: a few short fields."""

LIST_DEFAULT = 50
LIST_MAX = 1000
"""Incidents in one list, unless asked for otherwise, and at most."""

ID_MAX = 64
NOTE_MAX = 500
NAME_MAX = 64
ABOUT_MAX = 400
IMAGE_MAX = 512
"""Longest incident id or hash, note, claimed name, workload (namespace/Kind/name: at most 381), and image (a reference
has at most 255 characters of name, 128 of tag and a digest), in characters."""

SINCE_MAX = timedelta(days=1)
"""How far back an anomaly may be declared: what is older than a day is not the doing of the latest rollout alone."""

NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
OBJECT = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
KIND = re.compile(r"[A-Z][A-Za-z]{0,62}")
IMAGE = re.compile(r"[!-~]+")
SCOPE = re.compile(r"(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:/[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)?)?")
"""What a part of a path, an image and the scope of a pause look like, from end to end."""


async def body(request: web.Request) -> Mapping[str, Any]:
    """The JSON object that a command is."""
    return object_of(parse_json(await read_body(request, bytes_max=BODY_BYTES_MAX), "body"), "body")


def actor(given: Mapping[str, Any], who: str) -> str:
    """Who commands: what the credential says, and beside it the name that the client claims."""
    claimed = text(given, "name", NAME_MAX) if "name" in given else ""
    return f"{who} (says {plain.cut(claimed, NAME_MAX)!r})" if claimed else who


def query(request: web.Request, *known: str) -> Mapping[str, str]:
    """The query parameters; an unknown one, or one given twice, is refused."""
    only(dict(request.query), *known)
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise MalformedError(name, "is given twice; give it once")
    return request.query


def only(given: Mapping[str, Any], *known: str) -> None:
    """Refuse what is not known: a misspelt field must not be taken for one left out."""
    for name in given:
        if name not in known:
            names = ", ".join(sorted(known)) or "nothing"
            raise MalformedError(ascii(name[:40]), f"is unknown here; known: {names}")


def text(given: Mapping[str, Any], field: str, limit: int) -> str:
    """A string of 1 to `limit` characters."""
    value = given.get(field)
    if not isinstance(value, str):
        raise MalformedError(field, "is missing" if field not in given else f"must be a string, is {kind_of(value)}")
    if not 0 < len(value) <= limit:
        raise MalformedError(field, f"has {len(value)} characters, needs 1 to {limit}")
    return value


def scope(given: Mapping[str, Any]) -> str:
    """Empty (everything), a namespace, or namespace/name."""
    value = given.get("scope", "")
    if not isinstance(value, str):
        raise MalformedError("scope", f"must be a string, is {kind_of(value)}")
    if SCOPE.fullmatch(value) is None:
        raise MalformedError("scope", "is no namespace and no namespace/name; leave it empty for everything")
    return value


def workload_at(path: Mapping[str, str]) -> str:
    """`namespace/name`, or `namespace/Kind/name`, from the parts of a path."""
    parts = (("namespace", NAMESPACE), ("kind", KIND), ("name", OBJECT))
    for field, pattern in parts:
        if field in path and pattern.fullmatch(path[field]) is None:
            raise MalformedError(field, f"is no {field} of Kubernetes; write .../namespace/name")
    return "/".join(path[field] for field, _ in parts if field in path)


def image(given: Mapping[str, str]) -> str | None:
    """The image under `image`, None where it is left out. An empty one is refused: a variable of a pipeline is not set."""
    if "image" not in given:
        return None
    found = text(given, "image", IMAGE_MAX)
    if IMAGE.fullmatch(found) is None:
        raise MalformedError("image", "must be a digest, a reference or a tag, without blanks")
    return found


def cause(given: Mapping[str, Any]) -> DeclaredCause:
    """What a person declares under `reason`, spelled with - or _."""
    found = text(given, "reason", NAME_MAX).replace("-", "_")
    if found not in DECLARABLE:
        raise MalformedError("reason", f"must be one of {', '.join(DECLARABLE)}")
    return DeclaredCause(found)


def word(given: Mapping[str, Any]) -> Word:
    """What a person says of a decision, under `word`."""
    found = text(given, "word", NAME_MAX)
    if found not in tuple(Word):
        raise MalformedError("word", f"must be {' or '.join(Word)}")
    return Word(found)


def note(given: Mapping[str, Any]) -> str:
    """A person's own words under `note`, empty where they are left out."""
    return text(given, "note", NOTE_MAX) if given.get("note") is not None else ""


def since(given: Mapping[str, Any]) -> timedelta:
    """The duration under `since`, zero where it is left out."""
    found = _duration(given, "since")
    if found is None:
        return timedelta(0)
    if found > SINCE_MAX:
        raise MalformedError("since", f"must be at most {durations.render(SINCE_MAX)}")
    return found


def lasts(given: Mapping[str, Any]) -> timedelta | None:
    """The duration under `for`, None where it is left out."""
    return _duration(given, "for", "leave it out to pause until resumed")


def _duration(given: Mapping[str, Any], field: str, remedy: str = "or leave it out") -> timedelta | None:
    value = given.get(field)
    if value is None:
        return None
    try:
        found = durations.parse(value) if isinstance(value, str) else None
    except ValueError as error:
        raise MalformedError(field, str(error)) from None
    if not found:
        raise MalformedError(field, f"must be a duration above 0 such as 30m; {remedy}")
    return found


def limit(raw: str | None) -> int:
    """How many incidents are asked for."""
    if raw is None:
        return LIST_DEFAULT
    if not (raw.isascii() and raw.isdecimal() and len(raw) <= 6 and 0 < int(raw) <= LIST_MAX):
        raise MalformedError("limit", f"must be a whole number from 1 to {LIST_MAX}")
    return int(raw)


def flag(given: Mapping[str, str], field: str) -> bool:
    """A parameter that is true or false, false where it is left out."""
    value = given.get(field, "false")
    if value not in ("true", "false"):
        raise MalformedError(field, "must be true or false")
    return value == "true"
