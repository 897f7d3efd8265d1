"""The Grafana dashboard: its layout holds, its PromQL parses and reads what exists, and revisions are told apart."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerting.registry import DASHBOARD, faults_of, names_in
from tests.parts import require

CONTENT: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
WIDTH = 24
"""Columns of Grafana's grid."""

VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$namespace": "shop", "$workload": "web"}
"""What Grafana puts in, as it could be at some moment."""


def panels() -> list[dict[str, Any]]:
    """Every panel, rows and those inside collapsed rows included."""
    top: list[dict[str, Any]] = CONTENT["panels"]
    return [each for panel in top for each in (panel, *panel.get("panels", []))]


def expressions() -> dict[str, str]:
    """Every PromQL expression by where it stands; variables as they are written."""
    found = {
        f"{panel['title']} {target['refId']}": str(target["expr"])
        for panel in panels()
        for target in panel.get("targets", [])
    }
    found |= {
        f"annotation {each['name']}": str(each["expr"]) for each in CONTENT["annotations"]["list"] if "expr" in each
    }
    return found


def filled(expression: str) -> str:
    """An expression as Grafana sends it."""
    for name, value in sorted(VARIABLES.items(), reverse=True):
        expression = expression.replace(name, value)
    return expression


def cells(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """The cells of the grid that a panel covers."""
    at = panel["gridPos"]
    return itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))


def promtool(*arguments: object) -> str:
    """What promtool prints; fails with its words when it refuses."""
    command = [str(require("promtool")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_panel_has_an_id_of_its_own() -> None:
    """Grafana finds a panel by its id."""
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))


def test_no_panel_covers_another_and_none_sticks_out() -> None:
    """Each cell of the grid belongs to one panel at most, within 24 columns."""
    taken: dict[tuple[int, int], str] = {}
    for panel in CONTENT["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= WIDTH, panel["title"]
        for cell in cells(panel):
            assert cell not in taken, f"{panel['title']} covers {taken.get(cell)}"
            taken[cell] = panel["title"]


def test_each_panel_says_what_it_shows() -> None:
    """Every panel but a row has a description, and every title occurs once."""
    assert [panel["title"] for panel in panels() if panel["type"] != "row" and not panel["description"]] == []
    titles = [panel["title"] for panel in panels()]
    assert sorted(set(titles)) == sorted(titles)


def test_each_panel_asks_the_chosen_prometheus() -> None:
    """Nothing names a data source of some installation: what is not Grafana's own is the variable."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asked = [panel["datasource"] for panel in panels() if panel["type"] != "row"]
    asked += [target["datasource"] for panel in panels() for target in panel.get("targets", [])]
    asked += [each["datasource"] for each in CONTENT["annotations"]["list"] if not each.get("builtIn")]
    assert [each for each in asked if each != chosen] == []
    assert CONTENT["schemaVersion"] >= 39


def test_every_variable_that_is_used_is_defined() -> None:
    """Data source, namespace and workload are chosen at the top; all others are Grafana's own."""
    defined = {f"${each['name']}" for each in CONTENT["templating"]["list"]}
    assert defined == {"$datasource", "$namespace", "$workload"}
    used = {name for each in expressions().values() for name in re.findall(r"\$[a-z_]\w*", each)}
    assert used <= defined | set(VARIABLES)


@pytest.mark.parametrize("where", expressions())
def test_each_expression_reads_what_exists(where: str) -> None:
    """Series, labels and label values are the daemon's, or those of the few others that are listed."""
    assert names_in(expressions()[where])
    assert faults_of(expressions()[where]) == []


@pytest.mark.real
def test_every_expression_parses(tmp_path: Path) -> None:
    """The real promtool reads each one, with the variables put in, as the expression of a recording rule."""
    rules = [{"record": f"at:{number}", "expr": filled(each)} for number, each in enumerate(expressions().values())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


@pytest.mark.real
@pytest.mark.parametrize("label", ["code", "status"])
def test_the_error_ratio_tells_the_revisions_apart(tmp_path: Path, label: str) -> None:
    """The bad ReplicaSet shows its ratio and the good one 0, by either label; a neighbour of like name is left out."""
    served = {
        "web-6d4cf56db6-abcde": {"200": "0+600x30"},
        "web-7b9f4c8d55-fghij": {"200": "0+450x30", "500": "0+150x30"},
        "web-admin-7b9f4c8d55-klmno": {"500": "0+600x30"},
    }
    series = [
        {"series": f'http_requests_total{{namespace="shop",pod="{pod}",{label}="{code}"}}', "values": values}
        for pod, codes in served.items()
        for code, values in codes.items()
    ]
    samples = [
        {"labels": '{revision="web-6d4cf56db6"}', "value": 0},
        {"labels": '{revision="web-7b9f4c8d55"}', "value": 0.25},
    ]
    query = {"expr": filled(expressions()["Error ratio by revision A"]), "eval_time": "20m", "exp_samples": samples}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [query]}
    path = tmp_path / "dashboard_test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", path)


def test_the_workload_is_read_from_a_pods_name() -> None:
    """The variable's pattern cuts the ReplicaSet's hash and the pod's suffix off, and only those."""
    (workload,) = [each for each in CONTENT["templating"]["list"] if each["name"] == "workload"]
    found = re.match(workload["regex"].strip("/"), "web-admin-7b9f4c8d55-klmno")
    assert found is not None
    assert found[1] == "web-admin"
