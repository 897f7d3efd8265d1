"""What PagerDuty's Events API v2 asks of a body, checked by hand.

Source: PagerDuty developer documentation, "Send an Alert Event", "Send a Change Event", "Events API v2 Overview".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

ROUTING_KEY_LENGTH = 32
DEDUP_KEY_LENGTH_MAX = 255
SUMMARY_LENGTH_MAX = 1024
EVENT_BYTES_MAX = 512 * 1024
SEVERITIES = ("critical", "error", "warning", "info")
ACTIONS = ("trigger", "acknowledge", "resolve")

_TEXTS = ("source", "component", "group", "class")


def check_event(body: Mapping[str, Any]) -> list[str]:
    """Everything wrong with the body of `/v2/enqueue`, in PagerDuty's wording; nothing when it is fine."""
    errors = _check_routing_key(body)
    action, dedup_key = body.get("event_action"), body.get("dedup_key")
    if not action:
        errors.append("'event_action' is missing or blank")
    elif action not in ACTIONS:
        errors.append(f"'event_action' is invalid (must be one of the following: {', '.join(ACTIONS)})")
    if dedup_key is not None and not isinstance(dedup_key, str):
        errors.append("'dedup_key' is invalid (must be a string)")
    elif dedup_key is not None and len(dedup_key) > DEDUP_KEY_LENGTH_MAX:
        errors.append(f"Length of 'dedup_key' is incorrect (should be no more than {DEDUP_KEY_LENGTH_MAX} characters)")
    if action in ("acknowledge", "resolve") and not dedup_key:
        errors.append("'dedup_key' is missing or blank")
    if action == "trigger":
        payload = body.get("payload")
        if isinstance(payload, dict) and payload:
            errors += _check_payload(payload, severity=True)
        else:
            errors.append("'payload' is missing or blank")
    return errors + _check_extras(body)


def check_change(body: Mapping[str, Any]) -> list[str]:
    """Everything wrong with the body of `/v2/change/enqueue`."""
    errors = _check_routing_key(body)
    if str(body.get("routing_key", "")).startswith("R"):
        errors.append("'routing_key' is invalid (change events are not accepted for rulesets)")
    payload = body.get("payload")
    if not isinstance(payload, dict) or not payload:
        return [*errors, "'payload' is missing or blank"]
    return errors + _check_payload(payload, severity=False) + _check_extras(body)


def _check_routing_key(body: Mapping[str, Any]) -> list[str]:
    key = body.get("routing_key")
    if not isinstance(key, str) or not key:
        return ["'routing_key' is missing or blank"]
    if len(key) != ROUTING_KEY_LENGTH:
        return [f"Length of 'routing_key' is incorrect (should be {ROUTING_KEY_LENGTH} characters)"]
    return []


def _check_payload(payload: Mapping[str, Any], *, severity: bool) -> list[str]:
    errors = []
    for name in ("summary", "source") if severity else ("summary",):
        if not isinstance(payload.get(name), str) or not payload[name].strip():
            errors.append(f"'payload.{name}' is missing or blank")
    if len(str(payload.get("summary", ""))) > SUMMARY_LENGTH_MAX:
        errors.append(
            f"Length of 'payload.summary' is incorrect (should be no more than {SUMMARY_LENGTH_MAX} characters)"
        )
    if severity and payload.get("severity") not in SEVERITIES:
        errors.append(f"'payload.severity' is invalid (must be one of the following: {', '.join(SEVERITIES)})")
    for name in _TEXTS:
        if name in payload and not isinstance(payload[name], str):
            errors.append(f"'payload.{name}' is invalid (must be a string)")
    if "timestamp" in payload and not _is_time(payload["timestamp"]):
        errors.append("'payload.timestamp' is invalid (must be in ISO 8601 format)")
    if not isinstance(payload.get("custom_details", {}), dict):
        errors.append("'payload.custom_details' is invalid (must be an object)")
    return errors


def _check_extras(body: Mapping[str, Any]) -> list[str]:
    errors = []
    for name, field, schemes in (("links", "href", ("http://", "https://")), ("images", "src", ("https://",))):
        listed = body.get(name, [])
        if not isinstance(listed, list):
            errors.append(f"'{name}' is invalid (must be an array)")
            continue
        for number, each in enumerate(listed):
            url = each.get(field) if isinstance(each, dict) else None
            if not isinstance(url, str) or not url.startswith(schemes):
                errors.append(
                    f"'{name}[{number}].{field}' is invalid (must be a URL that begins with {' or '.join(schemes)})"
                )
    for name in ("client", "client_url"):
        if name in body and not isinstance(body[name], str):
            errors.append(f"'{name}' is invalid (must be a string)")
    return errors


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True
