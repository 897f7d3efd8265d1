"""deploy/docs/high-availability.md: its values render, its commands can be typed, and it names what is there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from daemon.cli.arguments import parser
from handlers.lease_record import identity_of
from tests import documents
from tests.alerting.registry import RULES
from tests.packaging.chart import CHART, MINIMAL, notes, one
from tests.packaging.chart import documents as objects_in
from tests.parts import require

pytestmark = pytest.mark.real

PAGE = "deploy/docs/high-availability.md"
TEXT = documents.read(PAGE)
POD = "lastgood-7d9f8b6c5d-x2x9q"


def test_its_values_make_several(tmp_path: Path) -> None:
    """The values of the page render, with more than one replica, the role for the Lease and a budget."""
    (block,) = documents.blocks(TEXT, "yaml")
    (tmp_path / "values.yaml").write_text(block.body)
    command = [str(require("helm")), "template", "lastgood", str(CHART), "--values", str(tmp_path / "values.yaml")]
    command += [part for value in MINIMAL for part in ("--set", value)]
    objects = objects_in(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert one(objects, "Deployment")["spec"]["replicas"] > 1
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert one(objects, "Role")["metadata"]["name"] == "lastgood-lease"


def test_its_commands_can_be_typed(tmp_path: Path) -> None:
    """The parser takes what kubectl passes on, and the shell makes the leader's pod out of what the Lease says."""
    lines = documents.commands(TEXT)
    for line in lines:
        assert parser().parse_args(shlex.split(line.rpartition(" -- ")[2])[1:]).command in ("check-access", "status")
    (status,) = (line for line in lines if line.endswith("lastgood status"))
    (tmp_path / "kubectl").write_text(
        f'#!/bin/sh\ncase "$*" in *jsonpath=*) printf %s {identity_of(POD, "a1b2")} ;; *) echo "kubectl $*" ;; esac\n'
    )
    (tmp_path / "kubectl").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    typed = subprocess.run(["/bin/sh", "-c", status], capture_output=True, text=True, check=True, env=environ).stdout
    assert typed == f"kubectl -n lastgood exec {POD} -- lastgood status\n"
    holder = re.search(r"jsonpath=.*$", status)
    assert holder is not None
    assert holder[0] in notes("replicas=2", "config.lease.enabled=true", "journal.postgres.secretName=db"), (
        "as the chart"
    )


def test_its_alerts_exist() -> None:
    """Each alert that the page names is one of the rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    known = {rule["alert"] for group in groups for rule in group["rules"]}
    named = set(re.findall(r"\bLastgood[A-Z]\w+", TEXT))
    assert "LastgoodNobodyLeads" in named
    assert named <= known


def test_links_lead_somewhere() -> None:
    """No link of the page is broken."""
    assert documents.broken_links(PAGE) == []
