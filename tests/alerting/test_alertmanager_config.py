"""Alertmanager's configuration: taken by the real amtool, and every alert comes where it should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import config
from handlers.inbound import alertmanager
from tests.parts import require
from tests.repository import ROOT

PLAIN = ROOT / "deploy/alerting/alertmanager.yaml"
OPERATOR = ROOT / "deploy/alerting/alertmanagerconfig.yaml"

ALERTS = [
    ("a critical alert of a workload", "alertname=HighErrorRate namespace=shop severity=critical", "lastgood,on-call"),
    ("a warning, which no route but the last one matches", "alertname=Slow severity=warning", "lastgood,on-call"),
    ("an alert without labels that lead to a workload", "alertname=DiskFull instance=db1", "lastgood,on-call"),
    ("the dead man's switch", "alertname=LastgoodWatchdog severity=none", "dead-mans-switch"),
    ("an alert about Lastgood", "alertname=LastgoodDown severity=critical namespace=lastgood", "lastgood-alerts"),
    ("another Watchdog is no business of ours", "alertname=Watchdog severity=none", "lastgood,on-call"),
]

CAMEL = re.compile(r"(?<=[a-z])([A-Z])")
BASE_WITHOUT_LAST: dict[str, Any] = {
    "route": {"receiver": "on-call", "routes": [{"receiver": "on-call", "matchers": ["severity = critical"]}]},
    "receivers": [{"name": "on-call"}],
}


def amtool(*arguments: object) -> str:
    """What amtool prints; fails with its words when it refuses."""
    command = [str(require("amtool")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def receivers_of(path: Path, labels: str) -> str:
    """Which receivers an alert with these labels is sent to, in order, joined by commas."""
    return amtool("config", "routes", "test", f"--config.file={path}", *labels.split()).strip()


def translated(value: Any) -> Any:
    """Part of an AlertmanagerConfig as prometheus-operator writes it into Alertmanager's own configuration."""
    if isinstance(value, list):
        return [translated(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"name", "matchType", "value"}:
        return f'{value["name"]} {value["matchType"]} "{value["value"]}"'
    if set(value) == {"name", "key"}:  # a Secret's key: the operator writes the secret itself
        return "s3cret"
    return {CAMEL.sub(lambda found: "_" + found[1].lower(), name): translated(item) for name, item in value.items()}


def operators_config(own: dict[str, Any]) -> dict[str, Any]:
    """The configuration that the operator makes from our object and a user's own: our route comes first."""
    spec = translated(yaml.safe_load(OPERATOR.read_text(encoding="utf-8"))["spec"])
    first = {**spec["route"], "continue": True}
    route = {**own["route"], "routes": [first, *own["route"]["routes"]]}
    return {"route": route, "receivers": [*own["receivers"], *spec["receivers"]]}


def written(tmp_path: Path, content: dict[str, Any]) -> Path:
    """The configuration as a file."""
    path = tmp_path / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def receiver(content: dict[str, Any], name: str) -> dict[str, Any]:
    """The one webhook_config of a receiver."""
    (webhook,) = next(each for each in content["receivers"] if each["name"] == name)["webhook_configs"]
    found: dict[str, Any] = webhook
    return found


@pytest.mark.real
def test_alertmanager_takes_the_configuration() -> None:
    """It passes `amtool check-config`."""
    assert "SUCCESS" in amtool("check-config", PLAIN)


@pytest.mark.real
@pytest.mark.parametrize(("what", "labels", "expected"), ALERTS, ids=[each[0] for each in ALERTS])
def test_each_alert_comes_where_it_should(what: str, labels: str, expected: str) -> None:
    """Lastgood stands beside the paging that was there; its own alerts and its Watchdog go elsewhere."""
    assert receivers_of(PLAIN, labels) == expected, what


@pytest.mark.real
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("alertname=HighErrorRate severity=critical", "lastgood,on-call"),
        ("alertname=Slow severity=warning", "lastgood,on-call"),
        ("alertname=LastgoodWatchdog", "dead-mans-switch,on-call"),
        ("alertname=LastgoodDown severity=critical", "lastgood-alerts,on-call"),
    ],
)
def test_the_operators_object_leads_to_the_same_receivers(tmp_path: Path, labels: str, expected: str) -> None:
    """Beside a configuration that ends with a route for all, the AlertmanagerConfig routes alike and takes nothing away."""
    own = {**BASE_WITHOUT_LAST, "route": {**BASE_WITHOUT_LAST["route"]}}
    own["route"]["routes"] = [*own["route"]["routes"], {"receiver": "on-call"}]
    path = written(tmp_path, operators_config(own))
    amtool("check-config", path)
    assert receivers_of(path, labels) == expected


@pytest.mark.real
def test_without_a_last_route_an_alert_would_reach_only_lastgood(tmp_path: Path) -> None:
    """Why the files tell of a last route: `continue` does not lead back to the receiver at the top."""
    path = written(tmp_path, operators_config(BASE_WITHOUT_LAST))
    assert receivers_of(path, "alertname=Slow severity=warning") == "lastgood"


@pytest.mark.parametrize(
    "content",
    [yaml.safe_load(PLAIN.read_text(encoding="utf-8")), operators_config(BASE_WITHOUT_LAST)],
    ids=["plain", "operator"],
)
def test_lastgood_hears_soon_and_all(content: dict[str, Any]) -> None:
    """Short waits, `continue`, no limit of alerts, resolved ones too, the daemon's own path and port, a token and no redirect."""
    route = next(each for each in content["route"]["routes"] if each["receiver"] == "lastgood")
    assert route["continue"] is True
    assert (route["group_wait"], route["group_interval"]) == ("5s", "15s")
    assert "alertname" in route["group_by"]
    webhook = receiver(content, "lastgood")
    assert (webhook["send_resolved"], webhook["max_alerts"]) == (True, 0)
    port = config.load(None, {"LASTGOOD_CLUSTER": "c"}).server.port
    assert webhook["url"].endswith(f":{port}{alertmanager.PATH}")
    assert webhook["http_config"]["authorization"]["type"] == "Bearer"
    assert webhook["http_config"]["follow_redirects"] is False


def test_no_secret_stands_in_the_files() -> None:
    """The token comes from a mounted file or a Secret."""
    plain = receiver(yaml.safe_load(PLAIN.read_text(encoding="utf-8")), "lastgood")
    assert "credentials_file" in plain["http_config"]["authorization"]
    (webhook,) = yaml.safe_load(OPERATOR.read_text(encoding="utf-8"))["spec"]["receivers"][0]["webhookConfigs"]
    assert set(webhook["httpConfig"]["authorization"]["credentials"]) == {"name", "key"}
