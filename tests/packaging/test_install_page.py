"""deploy/docs/install.md: its values, its roles, its overlay and its backup are the real ones."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from daemon.cli.arguments import parser
from tests import documents
from tests.packaging.chart import CHART, RENDERED, one, render
from tests.packaging.chart import documents as objects_in
from tests.parts import require

pytestmark = pytest.mark.real

PAGE = "deploy/docs/install.md"
TEXT = documents.read(PAGE)


def names(cell: str) -> list[str]:
    """The names in a cell of a table."""
    return [part.strip('` "') for part in cell.split(",")]


def test_every_value_is_explained_and_every_explained_value_exists() -> None:
    """The table of values is that of values.yaml."""
    told = {name for row in documents.table(TEXT, "value") for name in names(row[0])}
    assert told == set(yaml.safe_load((CHART / "values.yaml").read_text()))


def test_links_lead_somewhere() -> None:
    """No link of the page is broken."""
    assert documents.broken_links(PAGE) == []


def test_the_overlay_builds(tmp_path: Path) -> None:
    """The kustomization that the page shows, in a folder beside deploy/, replaces image and settings."""
    (block,) = (each for each in documents.blocks(TEXT, "yaml") if "kind: Kustomization" in each.body)
    shutil.copytree(RENDERED, tmp_path / "deploy/kubernetes")
    own = tmp_path / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text(block.body)
    (own / "lastgood.yaml").write_text("cluster: mine\n")
    command = [str(require("kubectl")), "kustomize", str(own)]
    objects = objects_in(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    config = one(objects, "ConfigMap")
    assert config["data"] == {"lastgood.yaml": "cluster: mine\n"}
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/lastgood:0.1.0.dev0"
    assert pod["volumes"][0]["configMap"]["name"] == config["metadata"]["name"]


def test_the_values_that_arm_a_workload_are_accepted(tmp_path: Path) -> None:
    """The values of the last step render, with the right to patch in that namespace only."""
    (block,) = (each for each in documents.blocks(TEXT, "yaml") if "mode: act" in each.body)
    (tmp_path / "values.yaml").write_text(block.body)
    command = [str(require("helm")), "template", "lastgood", str(CHART), "--values", str(tmp_path / "values.yaml")]
    command += ["--set", "config.cluster=x", "--set", "config.prometheus.url=http://p:9090"]
    objects = objects_in(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert one(objects, "RoleBinding")["metadata"]["namespace"] == "shop"


def test_each_helm_command_fits_the_chart(tmp_path: Path) -> None:
    """What follows `helm install` on the page is rendered by `helm template` with the same words."""
    found = [line for line in documents.commands(TEXT) if line.startswith("helm install")]
    assert len(found) == 2
    for line in found:
        words = shlex.split(line)[2:]
        command = [str(require("helm")), "template", words[0], str(CHART), *words[2:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_the_backup_can_be_typed() -> None:
    """The copying command is one of the daemon's own (tests/cli/test_journal.py runs it), and its file is copied and removed."""
    (line,) = (each for each in documents.commands(TEXT) if "journal backup" in each)
    words = shlex.split(line.partition(" -- ")[2])
    options = parser().parse_args(words[1:])
    assert (options.command, options.what) == ("journal", "backup")
    assert [each for each in documents.commands(TEXT) if str(options.file) in each and each != line][1].endswith(
        f"rm {options.file}"
    )


def test_the_pages_commands_name_what_the_chart_makes() -> None:
    """Names in the commands are those of the release: Deployment, claim, Secret, Service."""
    objects = render()
    assert one(objects, "Deployment")["metadata"]["name"] == "lastgood"
    assert one(objects, "PersistentVolumeClaim")["metadata"]["name"] == "lastgood"
    assert set(re.findall(r"deploy/(\w+) --|deploy/(\w+)$", TEXT, re.MULTILINE)) == {("lastgood", ""), ("", "lastgood")}
