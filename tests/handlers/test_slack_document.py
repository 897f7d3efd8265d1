"""deploy/docs/slack.md: the manifest asks for what the code needs, and the configuration is one that loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

import config
from handlers.inbound import slack
from handlers.outbound.slack.layout import message
from handlers.slack_offers import Button
from tests.handlers.telling import PROPOSED
from tests.repository import ROOT

TEXT = (ROOT / "deploy/docs/slack.md").read_text(encoding="utf-8")


def blocks() -> list[dict[str, Any]]:
    """The YAML blocks of the document, in order."""
    return [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)]


def test_the_manifest_is_for_this_code() -> None:
    """Interactivity leads to the route that is served, and the scopes are those that announcing needs."""
    manifest = blocks()[0]
    assert manifest["settings"]["interactivity"]["is_enabled"] is True
    assert manifest["settings"]["interactivity"]["request_url"].endswith(f".example.com{slack.PATH}")
    assert manifest["oauth_config"]["scopes"]["bot"] == ["chat:write", "channels:history"]
    assert manifest["settings"]["socket_mode_enabled"] is False


def test_the_configuration_loads(tmp_path: Path) -> None:
    """As written, but for the places of its secrets: approvers in force, presses over Socket Mode."""
    content = blocks()[1]
    for name, secret in (("bot_token_file", "xoxb-1"), ("app_token_file", "xapp-1")):
        path = tmp_path / name
        path.write_text(secret, encoding="utf-8")
        content["slack"][name] = str(path)
    written = tmp_path / "lastgood.yaml"
    written.write_text(yaml.safe_dump(content), encoding="utf-8")
    settings = config.load(written, {})
    assert settings.slack.interactions == "socket"
    assert [len(rule.actors) for rule in settings.policy.approvers] == [2, 1]


def test_the_buttons_are_called_what_they_are_called() -> None:
    """Each button stands in the document by its text."""
    actions = next(block for block in message(PROPOSED, buttons=True)[1] if block["type"] == "actions")
    texts = [element["text"]["text"] for element in actions["elements"]]
    assert len(texts) == len(Button)
    for text in texts:
        assert f"**{text}**" in TEXT


def test_the_numbers_are_the_code_s() -> None:
    """Window and limit stand in the document as they are."""
    assert f"within {slack.WINDOW_SECONDS} s" in TEXT
    assert f"{slack.BODY_BYTES_MAX // 1024} KiB" in TEXT
