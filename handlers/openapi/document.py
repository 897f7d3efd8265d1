"""Puts the description together: four YAML files, the limits and patterns of the code that holds them, Alertmanager's payload.
The payload is described by its reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml
from aiohttp import web

from config.sections import Server
from daemon.core.incidents import Phase, Word
from daemon.core.model import DECLARABLE, Mode
from daemon.core.reasons import Reason
from handlers import cloudevents, command_input, notice_fields, notice_input
from handlers.inbound import alertmanager, deployment_events, flagger, rollbacks, slack
from handlers.preflight import alert_file
from handlers.server import ServerLimits

PATH = "/openapi.json"

REFERENCE = "="
"""What a string of the YAML files begins with that is filled in from VALUES."""

VALUES: Mapping[str, object] = {
    "ABOUT_MAX": command_input.ABOUT_MAX,
    "APPLICATION": f"^{notice_input.APPLICATION.pattern}$",
    "BATCH_MAX": cloudevents.BATCH_MAX,
    "CAUSES": [cause.value for cause in DECLARABLE],
    "COMMAND_BODY_MAX": command_input.BODY_BYTES_MAX,
    "DIGEST": f"^{notice_input.DIGEST.pattern}$",
    "EVENT_BODY_MAX": deployment_events.BODY_BYTES_MAX,
    "EVENT_ID_MAX": notice_fields.ID_CHARS_MAX,
    "EVENT_IMAGE": f"^{notice_input.IMAGE.pattern}$",
    "EVENT_TYPES": [prefix + kind for prefix in ("", notice_input.PREFIX) for kind in notice_input.STATUSES],
    "FLAGGER_BODY_MAX": flagger.BODY_BYTES_MAX,
    "HEADERS_MAX": ServerLimits().headers_max,
    "ID_MAX": command_input.ID_MAX,
    "IMAGE": f"^{command_input.IMAGE.pattern}$",
    "IMAGES_MAX": notice_input.IMAGES_MAX,
    "IMAGE_MAX": command_input.IMAGE_MAX,
    "KIND": f"^{command_input.KIND.pattern}$",
    "LINE_BYTES_MAX": ServerLimits().line_bytes_max,
    "LIST_DEFAULT": command_input.LIST_DEFAULT,
    "LIST_MAX": command_input.LIST_MAX,
    "MODES": [mode.value for mode in Mode],
    "NAMESPACE": f"^{command_input.NAMESPACE.pattern}$",
    "NAME_MAX": command_input.NAME_MAX,
    "NOTE_MAX": command_input.NOTE_MAX,
    "OBJECT": f"^{command_input.OBJECT.pattern}$",
    "OVERRIDES_MAX": rollbacks.OVERRIDES_MAX,
    "PHASES": [phase.value for phase in Phase],
    "PREFLIGHT_BODY_MAX": alert_file.BODY_BYTES_MAX,
    "REASONS": [reason.value for reason in Reason],
    "SCOPE": f"^{command_input.SCOPE.pattern}$",
    "SERVER_BODY_LIMIT": Server.model_fields["body_limit"].default,
    "SLACK_BODY_MAX": slack.BODY_BYTES_MAX,
    "WORDS": [word.value for word in Word],
}


@lru_cache(maxsize=1)
def document() -> Mapping[str, Any]:
    """The description, as one JSON object. Do not change it."""
    found: dict[str, Any] = _part("top")
    found["paths"] = {**_part("senders"), **_part("people")}
    found["components"]["schemas"] = {**_part("schemas"), **alertmanager.schemas()}
    return found


def _part(name: str) -> dict[str, Any]:
    text = resources.files("handlers.openapi").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    filled: dict[str, Any] = _filled(yaml.safe_load(text))
    return filled


def _filled(value: Any) -> Any:
    """The value with every reference filled in. Raises KeyError for one that VALUES does not have."""
    if isinstance(value, dict):
        return {key: _filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    if isinstance(value, str) and value.startswith(REFERENCE):
        return VALUES[value.removeprefix(REFERENCE)]
    return value


def routes() -> list[web.AbstractRouteDef]:
    """Serves the description, to everybody: it holds nothing that this repository does not."""
    body = json.dumps(document(), separators=(",", ":")).encode()

    async def describe(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return [web.get(PATH, describe)]
