"""Part of the composition root: Slack's buttons, over whichever of the two roads is configured."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from config.settings import Settings
from daemon.core.policy import Policy
from daemon.ports import Clock, Commands, Reader, Telemetry
from handlers.inbound.slack import SlackInteractions
from handlers.inbound.slack_socket import SlackSocket
from handlers.slack_presses import SlackPresses
from handlers.slack_replies import SlackReplies


@dataclass(frozen=True, kw_only=True)
class Buttons:
    """Routes to serve and tasks to run; both empty where messages have no buttons."""

    routes: tuple[web.AbstractRouteDef, ...] = ()
    tasks: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]


def buttons(
    settings: Settings,
    session: aiohttp.ClientSession,
    *,
    reader: Reader,
    commands: Commands,
    policy: Callable[[], Policy],
    clock: Clock,
    telemetry: Telemetry,
) -> Buttons:
    """What carries presses to the engine."""
    slack = settings.slack
    if slack.interactions == "off":
        return Buttons(tasks={})
    presses = SlackPresses(
        reader=reader,
        commands=commands,
        policy=policy,
        clock=clock,
        telemetry=telemetry,
        replies=SlackReplies(session, slack.base_url),
    )
    tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {"slack presses": presses.run}
    if slack.app_token is not None:
        token = slack.app_token.get_secret_value()
        socket = SlackSocket(presses=presses, app_token=token, base_url=slack.base_url, telemetry=telemetry)
        return Buttons(tasks={**tasks, "slack socket": socket.run})
    assert slack.signing_secret is not None, "interactions is url only with it"
    secret = slack.signing_secret.get_secret_value()
    url = SlackInteractions(presses=presses, signing_secret=secret, clock=clock, telemetry=telemetry)
    return Buttons(routes=tuple(url.routes()), tasks=tasks)
