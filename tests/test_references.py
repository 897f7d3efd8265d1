"""The generated references say what the code says, and leave out nothing that can be set or measured."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, BeforeValidator, Field, SecretStr

import config
from config import durations
from config.sources import environment
from daemon.cli.arguments import parser
from daemon.runtime.telemetry import Metrics
from tests import documents
from tests.repository import ROOT


def script() -> ModuleType:
    """`.ci/references.py`, which is no package's."""
    spec = importlib.util.spec_from_file_location("references", ROOT / ".ci/references.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


REFERENCES = script()
ROWS = {
    row[0].split("<br>")[0].strip("`"): row
    for row in documents.table(REFERENCES.METRICS_HEAD + "".join(REFERENCES._rows_of_metrics()), "metric")
}


def test_the_references_are_fresh() -> None:
    """deploy/docs/configuration.md and metrics.md are what the code gives, and each setting is explained."""
    assert REFERENCES.faults() == []


def test_each_setting_stands_in_the_configuration_with_its_variable() -> None:
    """Every field of every section has a row, and the variable shown is the one that sets it."""
    shown = documents.read("deploy/docs/configuration.md")
    for each in REFERENCES.settings():
        assert f"`{each.path}`" in shown, each.path
        if each.variable and "NAME" not in each.path:
            found: Any = environment({each.variable: "x"})[0]
            for part in each.path.split("."):
                found = found[part]
            assert found == "x", each.path


def test_the_defaults_shown_can_be_written() -> None:
    """What stands as the default of a plain setting loads, and changes nothing."""
    plain = [
        each
        for each in REFERENCES.settings()
        if each.default.startswith("`") and each.variable and "NAME" not in each.path
    ]
    written = [each for each in plain if each.path != "policy.signals"]
    assert len(written) > 50
    values = {each.variable: json_like(each.default.strip("`")) for each in written}
    settings = config.load(None, {"LASTGOOD_CLUSTER": "c", **values})
    assert settings.fingerprint == config.load(None, {"LASTGOOD_CLUSTER": "c"}).fingerprint


def json_like(text: str) -> str:
    """A list or mapping as JSON, as a variable wants it; all else as it is."""
    return json.dumps(yaml.safe_load(text)) if text[:1] in "[{" else text


class _Inner(BaseModel):
    level: int = Field(default=1, ge=1, le=9)


class _New(BaseModel):
    """A section of the future."""

    wait: Annotated[timedelta, BeforeValidator(durations.read)] = timedelta(minutes=90)
    token: SecretStr | None = None
    rules: tuple[_Inner, ...] = ()
    named: dict[str, _Inner] = Field(default_factory=dict)
    must: bool


def test_a_new_section_needs_no_change_of_the_generator() -> None:
    """Fields, entries of lists and mappings, limits and defaults of a model that nobody thought of are found."""
    found = {each.path: (each.kind, each.default, each.variable) for each in REFERENCES._below(_New, "events.")}
    assert found == {
        "events.wait": ("duration or 0", "`1h30m`", "LASTGOOD_EVENTS__WAIT"),
        "events.token": ("secret", "unset", "LASTGOOD_EVENTS__TOKEN"),
        "events.rules": ("list of mapping (see below)", "`[]`", "LASTGOOD_EVENTS__RULES"),
        "events.rules[].level": ("whole number, at least 1, at most 9", "`1`", ""),
        "events.named": ("mapping of name to mapping (see below)", "`{}`", "LASTGOOD_EVENTS__NAMED"),
        "events.named.NAME.level": (
            "whole number, at least 1, at most 9",
            "`1`",
            "LASTGOOD_EVENTS__NAMED__NAME__LEVEL",
        ),
        "events.must": ("true or false", "required", "LASTGOOD_EVENTS__MUST"),
    }


@pytest.mark.parametrize(("told", "fault"), [({}, "add a line"), ({"events.must": "x", "events.gone": "x"}, "no such")])
def test_a_forgotten_meaning_is_noticed(told: dict[str, str], fault: str) -> None:
    """A setting without a text is a fault, and so is a text that is left of a setting that is gone."""
    (must,) = [each for each in REFERENCES._below(_New, "events.") if each.path == "events.must"]
    (found,) = REFERENCES.unexplained([must], told)
    assert fault in found


def test_each_series_stands_in_the_reference_of_metrics() -> None:
    """Name, type and labels are those of a scrape, but for the moments at which each series began."""
    scraped = text_string_to_metric_families(generate_latest(Metrics().registry).decode())
    families = [family for family in scraped if not family.name.endswith("_created")]
    assert len(ROWS) == len(families)
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert ROWS[name][1] == family.type
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert all(f"`{label}`" in ROWS[name][2] for label in labels)


GUIDES = ("deploy/docs/arm-a-workload.md", "deploy/docs/alerting.md")
KNOWN = next(set(action.choices) for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
"""The commands that the command line has."""


@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_are_well_written(guide: str) -> None:
    """The command line understands each command that a guide shows."""
    commands = [shlex.split(line) for line in documents.commands(documents.read(guide))]
    for words in commands:
        if words[0] == "lastgood" and words[1] in KNOWN:
            assert parser().parse_args(words[1:]).command == words[1]


def test_the_guide_arms_one_workload_at_a_time(tmp_path: Path) -> None:
    """Each policy that the guide shows loads, and puts only shop/web into the mode of its step."""
    guide = documents.read("deploy/docs/arm-a-workload.md")
    modes = []
    for number, block in enumerate(documents.blocks(guide, "yaml")):
        path = tmp_path / f"{number}.yaml"
        path.write_text("cluster: c\n" + block.body)
        (rule,) = config.load(path, {}).policy.modes
        assert (rule.namespaces, rule.names) == (("shop",), ("web",))
        modes.append(rule.mode.value)
    assert modes == ["approve", "auto"]
