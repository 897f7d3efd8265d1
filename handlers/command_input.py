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
from handlers.alerts import MalformedError, kind_of, object_of, parse_json
from handlers.server import BodyRefusedError, read_body

BODY_BYTES_MAX = 16 * 1024
"""Largest command: a few short fields."""

LIST_DEFAULT = 50
LIST_MAX = 1000
"""Incidents in one list, unless asked for otherwise, and at most."""

ID_MAX = 64
NOTE_MAX = 500
NAME_MAX = 64
ABOUT_MAX = 400
"""Longest incident id or hash, note, claimed name, and workload (namespace/Kind/name: at most 381), in characters."""

_SCOPE = re.compile(r"(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:/[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)?)?")


async def body(request: web.Request) -> Mapping[str, Any]:
    """The JSON object that a command is."""
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise BodyRefusedError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
    raw = await read_body(request)
    if len(raw) > BODY_BYTES_MAX:
        raise BodyRefusedError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
    return object_of(parse_json(raw, "body"), "body")


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
    if _SCOPE.fullmatch(value) is None:
        raise MalformedError("scope", "is no namespace and no namespace/name; leave it empty for everything")
    return value


def lasts(given: Mapping[str, Any]) -> timedelta | None:
    """The duration under `for`, None where it is left out."""
    value = given.get("for")
    if value is None:
        return None
    try:
        found = durations.parse(value) if isinstance(value, str) else None
    except ValueError as error:
        raise MalformedError("for", str(error)) from None
    if not found:
        raise MalformedError("for", "must be a duration above 0 such as 30m; leave it out to pause until resumed")
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
