"""What the API server answers when it refuses: an ``ApiError`` becomes a ``Status`` object.

Codes, reasons and sentences follow k8s.io/apimachinery ``pkg/api/errors``; clients decide on ``code`` and ``reason``.
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]
"""One JSON object as it travels on the wire."""


class ApiError(Exception):
    """A refused request. ``code`` is the HTTP status, ``reason`` the machine-readable CamelCase word."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Json:
        """The ``v1 Status`` object that is sent as the body."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            **({"details": self.details} if self.details is not None else {}),
            "code": self.code,
        }


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def _details(plural: str, group: str, name: str) -> Json:
    return {key: value for key, value in (("name", name), ("group", group), ("kind", plural)) if value}


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404 for an object that does not exist."""
    return ApiError(404, "NotFound", f'{_qualified(plural, group)} "{name}" not found', _details(plural, group, name))


def no_such_path() -> ApiError:
    """404 for a path that no resource is served at."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """409 for a create of a name that is taken."""
    message = f'{_qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(plural, group, name))


def conflict(plural: str, group: str, name: str, why: str = "") -> ApiError:
    """409 for a write that was based on an older object."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(plural, group, name))


def invalid(kind: str, group: str, name: str, causes: list[tuple[str, str]]) -> ApiError:
    """422 for an object that breaks a rule of its schema; ``causes`` are (field path, sentence)."""
    sentences = [f"{field}: {sentence}" for field, sentence in causes]
    text = sentences[0] if len(sentences) == 1 else "[" + ", ".join(sentences) + "]"
    details = _details(kind, group, name)
    details["causes"] = [{"reason": _cause(why), "message": why, "field": field} for field, why in causes]
    return ApiError(422, "Invalid", f'{_qualified(kind, group)} "{name}" is invalid: {text}', details)


_CAUSES = {
    "Required value": "FieldValueRequired",
    "Duplicate value": "FieldValueDuplicate",
    "Unsupported value": "FieldValueNotSupported",
    "Forbidden": "FieldValueForbidden",
    "Too long": "FieldValueTooLong",
}


def _cause(sentence: str) -> str:
    """The machine-readable word for a sentence of ``pkg/util/validation/field``."""
    return _CAUSES.get(sentence.partition(":")[0], "FieldValueInvalid")


def undecodable_patch(patched: Any, why: str) -> ApiError:
    """422 for a patch whose result is no object of the kind; without a patch the same is 400."""
    text = json.dumps(patched, separators=(",", ":"))
    return invalid("", "", "", [("patch", f"Invalid value: {json.dumps(text)}: {why}")])


def patch_refused() -> ApiError:
    """422 for a patch that cannot be applied, a failed ``test`` among them: the server does not say which."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def bad_request(message: str) -> ApiError:
    """400 for a body or a query that cannot be read."""
    return ApiError(400, "BadRequest", message)


def version_is_no_number(text: str) -> ApiError:
    """500 (sic) for an object whose resourceVersion is no number."""
    return ApiError(500, "", f'strconv.ParseUint: parsing "{text}": invalid syntax')


def unreadable_version(text: str) -> ApiError:
    """500 (sic, and without a reason) for a watch from a resourceVersion that is no number."""
    message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    return ApiError(500, "", message)


def from_the_future(asked: int, current: int) -> ApiError:
    """504 for a list at least as new as a version that is not there yet."""
    message = "Too large resource version"
    causes = [{"reason": "ResourceVersionTooLarge", "message": message}]
    return ApiError(504, "Timeout", f"Timeout: {message}: {asked}, current: {current}", {"causes": causes})


def expired(message: str) -> ApiError:
    """410 for a resourceVersion or a continue token that history no longer holds."""
    return ApiError(410, "Expired", message)
