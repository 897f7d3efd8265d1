"""What the settings make of Slack's buttons: how presses arrive, and who may press."""

from __future__ import annotations

from pathlib import Path

import pytest

import config
from daemon.core.model import Workload
from daemon.core.policy import ApproverRule

SIGNING = "0123456789abcdef0123456789abcdef"
TOLD = "policy.approvers: not set while a mode is approve"


def loaded(tmp_path: Path, text: str) -> config.Settings:
    path = tmp_path / "lastgood.yaml"
    path.write_text(f"cluster: c\n{text}\n", encoding="utf-8")
    return config.load(path, {})


@pytest.mark.parametrize(
    ("secret", "door"),
    [("", "off"), (f", signing_secret: {SIGNING}", "url"), (", app_token: xapp-1-A-b", "socket")],
)
def test_the_secret_that_is_set_decides_how_presses_arrive(tmp_path: Path, secret: str, door: str) -> None:
    """Without either secret there are no buttons; each of the two opens its own door."""
    slack = loaded(tmp_path, f"slack: {{bot_token: xoxb-1, channel: C1{secret}}}").slack
    assert slack.interactions == door


def test_both_secrets_may_lie_in_files(tmp_path: Path) -> None:
    """A file is read like any other secret's, its value is shown nowhere, and the log redacts it."""
    secret = tmp_path / "signing"
    secret.write_text(SIGNING + "\n", encoding="utf-8")
    settings = loaded(tmp_path, f"slack: {{bot_token: xoxb-1, channel: C1, signing_secret_file: {secret}}}")
    assert settings.slack.interactions == "url"
    assert SIGNING in settings.secrets
    assert SIGNING not in repr(settings)


def test_approvers_are_read_as_actors(tmp_path: Path) -> None:
    """A member becomes the actor that the journal names; selectors match as they do in modes."""
    rules = "[{slack: [U0123ABCD, W0456EFGH], namespaces: ['shop-*'], names: [web]}]"
    policy = loaded(tmp_path, f"policy: {{approvers: {rules}}}").policy
    assert policy.approvers == (
        ApproverRule(actors=("slack:U0123ABCD", "slack:W0456EFGH"), namespaces=("shop-*",), names=("web",)),
    )
    web = Workload(namespace="shop-1", kind="Deployment", name="web")
    assert policy.may_approve("slack:U0123ABCD", web)
    assert not policy.may_approve("slack:U0999ABCD", web)
    assert not policy.may_approve("slack:U0123ABCD", Workload(namespace="shop-1", kind="Deployment", name="cart"))


def test_the_environment_gives_approvers_as_json() -> None:
    """As every list: JSON in one variable."""
    environ = {"LASTGOOD_CLUSTER": "c", "LASTGOOD_POLICY__APPROVERS": '[{"slack": ["U0123ABCD"]}]'}
    assert config.load(None, environ).policy.approvers == (ApproverRule(actors=("slack:U0123ABCD",)),)


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("default_mode: approve", True),
        ("modes: [{mode: approve, names: [web]}]", True),
        ("{default_mode: approve, approvers: [{slack: [U0123ABCD]}]}", False),
        ("modes: [{mode: auto, names: [web]}]", False),
    ],
)
def test_approve_without_approvers_is_told(tmp_path: Path, policy: str, *, told: bool) -> None:
    """Who arms `approve` without approvers learns that only the command line can approve."""
    warnings = loaded(tmp_path, f"policy: {policy if policy.startswith('{') else '{' + policy + '}'}").warnings
    assert any(warning.startswith(TOLD) for warning in warnings) is told
