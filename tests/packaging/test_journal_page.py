"""deploy/docs/journal.md and the chart's `journal`: what they show can be typed, applied, and reads the right database."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from daemon.cli.arguments import parser
from tests import documents
from tests.packaging.chart import DATABASE_URL, Obj, loaded, one, render, settings_of
from tests.packaging.shapes import unknown_fields
from tests.repository import ROOT

pytestmark = pytest.mark.real

TEXT = documents.read("deploy/docs/journal.md")
WITH_DATABASE = ("journal.postgres.secretName=lastgood-db-app",)


def the_pod() -> Obj:
    (block,) = (each for each in documents.blocks(TEXT, "yaml") if "kind: Pod" in each.body)
    found: Obj = yaml.safe_load(block.body)
    return found


def spec_of(objects: list[Obj]) -> Obj:
    found: Obj = one(objects, "Deployment")["spec"]["template"]["spec"]
    return found


def test_its_commands_can_be_typed() -> None:
    """The parser takes every `lastgood` command of the page, also those that kubectl passes on."""
    lines = [line.rpartition(" -- ")[2].partition(" > ")[0] for line in documents.commands(TEXT)]
    ours = [shlex.split(line) for line in lines if line.startswith("lastgood ")]
    assert len(ours) >= 5
    for words in ours:
        assert parser().parse_args(words[1:]).command == "journal"
    assert {words[2] for words in ours} == {"backup", "restore", "move"}


def test_its_tests_exist() -> None:
    """Each test that the table of promises names is there."""
    rows = documents.table(TEXT, "promise")
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row[2])}
    assert len(rows) == 6
    assert len(named) >= 9
    sources = "".join(path.read_text() for path in (ROOT / "tests/runtime").glob("test_journal_postgres*.py"))
    assert [name for name in named if f"def {name}(" not in sources] == []


def test_its_pod_is_the_charts() -> None:
    """The pod for restoring and moving has fields that Kubernetes knows, and the chart's names, mounts and user."""
    pod = the_pod()
    assert unknown_fields(pod) == []
    file, database = spec_of(render()), spec_of(render(*WITH_DATABASE))
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts == {each["name"]: each["mountPath"] for each in database["containers"][0]["volumeMounts"]}
    volumes = {each["name"]: each for each in spec["volumes"]}
    for each in file["volumes"]:
        if each["name"] != "tmp":
            assert volumes[each["name"]] == each
    assert volumes["journal"] == next(each for each in database["volumes"] if each["name"] == "journal")
    for name in ("runAsUser", "runAsGroup", "fsGroup", "runAsNonRoot", "seccompProfile"):
        assert spec["securityContext"][name] == file["securityContext"][name]
    assert container["securityContext"] == file["containers"][0]["securityContext"]


def test_the_database_takes_the_claims_place(tmp_path: Path) -> None:
    """With a Secret named there is no claim; the daemon reads the URL from the Secret's key, and it is in no ConfigMap."""
    objects = render(*WITH_DATABASE, "journal.postgres.secretKey=dsn", "config.journal.schema_name=west")
    assert "PersistentVolumeClaim" not in [each["kind"] for each in objects]
    volumes = {each["name"]: each for each in spec_of(objects)["volumes"]}
    assert volumes["state"]["emptyDir"] == {}
    assert volumes["journal"]["secret"]["items"] == [{"key": "dsn", "path": "url"}]
    assert yaml.safe_load(settings_of(objects))["journal"]["url"] == {"file": "/etc/lastgood-journal/url"}
    settings = loaded(objects, tmp_path)
    assert settings.journal.schema_name == "west"
    assert settings.journal.url is not None
    assert settings.journal.url.get_secret_value() == DATABASE_URL


def test_as_shipped_it_is_a_file(tmp_path: Path) -> None:
    """Nobody needs a database."""
    objects = render()
    one(objects, "PersistentVolumeClaim")
    assert loaded(objects, tmp_path).journal.url is None
