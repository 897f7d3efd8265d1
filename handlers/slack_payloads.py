"""What Slack sends when a button is pressed: an interaction payload of type `block_actions`, the same over both roads.

Source: Slack documentation, "Interaction payloads: block_actions". Only the fields that are needed are read. The user's id
is vouched for by Slack; what it may do is the policy's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from handlers.alerts import MalformedError, kind_of, object_of
from handlers.slack_offers import Button, Offer, offer_of

RESPONSE_URL_MAX = 2_000
"""Longest response_url that is used, in characters; Slack's have about 100."""

_MEMBER = re.compile(r"[UW][A-Z0-9]{1,30}")
_BUTTONS = {button.value: button for button in Button}


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """One press: who pressed what, on which offer, and where the answer goes (None: it was not told).

    `guest` where the member belongs to another workspace than the app (a channel that is shared with strangers).
    """

    button: Button
    offer: Offer
    user: str
    guest: bool = False
    response_url: str | None = None

    @property
    def actor(self) -> str:
        """As the journal names them."""
        return f"slack:{self.user}"


def press_of(payload: object) -> Press | None:
    """The press in a payload; None for an interaction that is none of ours. Raises MalformedError."""
    body = object_of(payload, "payload")
    kind = body.get("type")
    if not isinstance(kind, str):
        raise MalformedError("type", "is missing" if kind is None else f"must be a string, is {kind_of(kind)}")
    if kind != "block_actions":
        return None
    actions = body.get("actions")
    if not isinstance(actions, list) or not actions:
        raise MalformedError("actions", "must be an array of at least one action")
    action = object_of(actions[0], "actions[0]")
    name = action.get("action_id")
    button = _BUTTONS.get(name) if isinstance(name, str) else None
    if button is None:
        return None
    if len(actions) > 1:
        raise MalformedError("actions", "must hold one press of a button")
    user, offer = object_of(body.get("user"), "user"), offer_of(action.get("value"))
    if button is Button.APPROVE and offer.target is None:
        raise MalformedError("actions[0].value.target", "is missing: consent is to a target")
    return Press(
        button=button,
        offer=offer,
        user=_member(user),
        guest=_guest(body, user),
        response_url=_response_url(body),
    )


def _member(user: Mapping[str, object]) -> str:
    found = user.get("id")
    if not isinstance(found, str) or _MEMBER.fullmatch(found) is None:
        raise MalformedError("user.id", "must be a member's id, like U0123ABCD")
    return found


def _guest(body: Mapping[str, object], user: Mapping[str, object]) -> bool:
    """A member of another workspace: its id means somebody else there. In an Enterprise organisation ids are shared."""
    team, home = body.get("team"), user.get("team_id")
    here = team.get("id") if isinstance(team, dict) else None
    apart = isinstance(home, str) and isinstance(here, str) and home != here
    return apart and not body.get("enterprise")


def _response_url(body: Mapping[str, object]) -> str | None:
    found = body.get("response_url")
    return found if isinstance(found, str) and len(found) <= RESPONSE_URL_MAX else None
