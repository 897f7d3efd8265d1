"""The README says what is true: tables, links, packages and configuration are compared with the code."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
import yaml

import config
from daemon.cli.arguments import parser
from daemon.cli.exits import Exit
from daemon.core.model import Mode
from daemon.core.policy import Policy
from daemon.runtime.journal_file import open_file
from deploy.sandbox.scenarios import SCENARIOS
from tests import documents, repository
from tests.e2e.test_crashes_kill import MOMENTS
from tests.parts import require

README = documents.read("README.md")
DOCUMENTS = [str(path) for path in repository.files() if path.suffix == ".md"]
OWNERS_PACKAGES = (
    "aiohttp",
    "asyncio-mqtt",
    "prometheus-client",
    "structlog",
    "kubernetes-asyncio",
    "pydantic-settings",
    "pytest-asyncio",
)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path: str) -> None:
    """Every link to a file of the repository finds it."""
    assert documents.broken_links(path) == []


def test_nothing_is_left_to_fill_in() -> None:
    """No document holds a placeholder."""
    assert [path for path in DOCUMENTS if "@@" in documents.read(path)] == []


def test_the_table_of_scenarios_is_the_sandboxes() -> None:
    """Each scenario of `make demo` stands in the table with the outcome, target and pages that it must end with."""
    told = {row[0].strip("`"): (row[2], row[3], int(row[4])) for row in documents.table(README, "scenario")}
    assert told == {each.name: (each.outcome, each.rolled_back_to, each.pages) for each in SCENARIOS.values()}


def test_every_package_of_the_card_is_shown_where_it_is_used() -> None:
    """The table has the owner's packages, each with a file that exists and, where one is named, imports it."""
    rows = {row[0]: row[1] for row in documents.table(README, "package")}
    assert tuple(rows) == OWNERS_PACKAGES
    for package, text in rows.items():
        family = {package.replace("-", "_"), package.partition("-")[0]}  # pydantic-settings comes with pydantic
        for named in re.findall(r"`((?:config|daemon|handlers)/[\w/]+\.py)`", text):
            imported = {name.partition(".")[0] for name in repository.imported(repository.tree(Path(named)))}
            assert imported & family, f"{named} does not import {package}"


def test_every_package_of_the_card_is_a_dependency() -> None:
    """What the table shows as used is declared; aiomqtt comes with the MQTT events, which are not in this version."""
    project = tomllib.loads((repository.ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=]", each)[0] for each in declared}
    assert set(OWNERS_PACKAGES) - {"asyncio-mqtt"} <= names
    assert "aiomqtt" in names or "from the next version on (MQTT events)" in README


def test_the_daemon_is_killed_as_often_as_told() -> None:
    """The README's number of moments is not more than the crash test has."""
    told = re.search(r"\(`kill -9`\) at (\d+) moments", README)
    assert told is not None
    assert 10 <= int(told[1]) <= len(MOMENTS)


def test_the_exit_codes_are_documented() -> None:
    """The runbook's table has each exit code of the command line, and no other."""
    rows = documents.table(documents.read("deploy/docs/runbook.md"), "exit code")
    assert [int(row[0]) for row in rows] == [code.value for code in Exit]


def yaml_block(holding: str) -> str:
    """The README's one YAML block that holds this."""
    (found,) = [block.body for block in documents.blocks(README, "yaml") if holding in block.body]
    return found


def test_the_policy_block_arms_one_workload(tmp_path: Path) -> None:
    """The README's line of policy loads, and puts exactly one workload into `approve`."""
    path = tmp_path / "lastgood.yaml"
    path.write_text("cluster: c\n" + yaml_block("modes:"))
    (rule,) = config.load(path, {}).policy.modes
    assert (rule.namespaces, rule.names, rule.mode) == (("shop",), ("web",), Mode.APPROVE)


@pytest.mark.real
def test_alertmanager_takes_the_route(tmp_path: Path) -> None:
    """Laid into a configuration that has only a receiver of its own, the README's route passes `amtool check-config`.

    An alert reaches Lastgood and the paging: `continue` leads to the next routes, and the last one takes what is left.
    """
    amtool = require("amtool")
    content = yaml.safe_load(yaml_block("receivers:"))
    content["route"]["receiver"] = "present-paging"
    content["receivers"].append({"name": "present-paging"})
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(content))
    checked = subprocess.run([amtool, "check-config", path], capture_output=True, text=True, timeout=20, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 receivers" in checked.stdout
    asked = [
        str(amtool),
        "config",
        "routes",
        "test",
        f"--config.file={path}",
        "namespace=shop",
        "alertname=HighErrorRate",
    ]
    routed = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    assert set(routed.stdout.strip().split(",")) == {"lastgood", "your-paging"}


def test_the_route_leads_to_the_default_address() -> None:
    """The URL in the route is the daemon's default address and the webhook's path."""
    (url,) = re.findall(r"url: (\S+)", yaml_block("receivers:"))
    listen = config.load(None, {"LASTGOOD_CLUSTER": "c"}).server.listen
    assert url == f"http://{listen}/api/v1/alertmanager"


def test_a_fresh_configuration_observes() -> None:
    """`observe` is what the README promises to begin with: the default, and the copied example's only mode."""
    settings = config.load(repository.ROOT / "deploy/lastgood.example.yaml", {})
    assert (settings.policy.default_mode, settings.policy.modes) == (Mode.OBSERVE, ())
    assert Policy(cluster="c").default_mode is Mode.OBSERVE


def runbook_commands(program: str) -> list[list[str]]:
    """The runbook's commands of one program, in words without the program's own name."""
    runbook = documents.commands(documents.read("deploy/docs/runbook.md"))
    return [words[1:] for words in map(shlex.split, runbook) if words[0] == program]


@pytest.mark.parametrize("words", runbook_commands("lastgood"), ids=" ".join)
def test_the_runbooks_commands_are_well_written(words: list[str]) -> None:
    """The command line understands each command of the runbook."""
    assert parser().parse_args(words).command == words[0]


def test_the_runbooks_query_reads_a_journal(tmp_path: Path) -> None:
    """The SQL that the runbook shows runs on a fresh journal."""
    ((*_, query),) = runbook_commands("sqlite3")
    with closing(open_file(tmp_path / "journal.sqlite")) as journal:
        assert journal.execute(query).fetchall() == []


def known_tests() -> dict[str, str]:
    """`folder/file.py::test_name` of every test, with its docstring."""
    return {
        f"{path.relative_to('tests')}::{node.name}": ast.get_docstring(node) or ""
        for path in repository.python_files()
        if repository.under(path, "tests")
        for node in ast.walk(repository.tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_each_bad_input_names_the_tests_that_show_its_answer() -> None:
    """Every row of deploy/docs/inputs.md names at least one test, and every test it names exists."""
    known = known_tests()
    for row in documents.table(documents.read("deploy/docs/inputs.md"), "input"):
        named = re.findall(r"`([\w/]+\.py::\w+)`", row[-1])
        assert named, row[0]
        assert [name for name in named if name not in known] == [], row[0]
