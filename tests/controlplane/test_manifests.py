"""The rendered manifests and the chart on real API servers: taken as they are, with nothing dropped or changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.installed import NAMESPACE, lastgood_namespace
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import Programs
from tests.controlplane.workloads import Json, until
from tests.packaging.chart import CHART, MINIMAL, RENDERED, build
from tests.repository import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

WITHOUT_CRDS = (
    "podDisruptionBudget.enabled=true",
    "rbac.mode=act",
    "rbac.secretsMetadata=true",
    "dashboard.enabled=true",
)
POD_SECURITY_FROM = CHART_FROM = (1, 25)


def test_each_answer_of_the_page_names_a_test() -> None:
    """Every row of deploy/docs/api-server.md that answers a question names tests, and each of them is there."""
    text = (ROOT / "deploy/docs/api-server.md").read_text()
    rows = [line for line in text.splitlines() if line.count(" | ") == 3 and "| test |" not in line]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/contract/)?(test_\w+\.py)::(\w+)`", row.rpartition(" | ")[2])
        assert named, row
        for folder, module, test in named:
            file = ROOT / (folder or "tests/controlplane") / module
            assert f"def {test}(" in file.read_text(), f"{module}::{test}"


@pytest.fixture
def programs(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Programs]:
    with lastgood_namespace(control_plane, tmp_path) as found:
        yield found


def missing(wanted: Any, found: Any, at: str = "") -> Iterator[str]:
    """The paths at which what was sent is not what the server keeps; defaults that it adds are none of them."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from missing(value, found.get(key), f"{at}/{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (value, other) in enumerate(zip(wanted, found, strict=True)):
            yield from missing(value, other, f"{at}/{index}")
    elif wanted not in (found, [], {}, None):
        yield f"{at}: {wanted!r} became {found!r}"


def get(programs: Programs, obj: Json) -> Json:
    """The same object as the server has it."""
    api, name = obj["apiVersion"], obj["metadata"]["name"]
    root = f"/apis/{api}" if "/" in api else f"/api/{api}"
    scope = f"/namespaces/{NAMESPACE}" if "namespace" in obj["metadata"] else ""
    plural = {"NetworkPolicy": "networkpolicies"}.get(obj["kind"], f"{obj['kind'].lower()}s")
    status, answer = programs.plane.ask("GET", f"{root}{scope}/{plural}/{name}")
    assert status == 200, answer
    return answer


@pytest.mark.parametrize("mode", ["observe", "act"])
def test_the_rendered_folder_is_taken_as_it_is(programs: Programs, mode: str) -> None:
    """`kubectl apply -k`, tried by the server first and then for real: each object is kept as it was written."""
    folder = RENDERED / mode
    tried = programs.does("kubectl", "apply", "-k", folder, "--dry-run=server")
    objects = build(mode)
    assert tried.count("(server dry run)") == len(objects)
    programs.does("kubectl", "apply", "-k", folder)
    changed = [
        f"{each['kind']} {each['metadata']['name']}{line}"
        for each in objects
        for line in missing(each, get(programs, each))
    ]
    assert changed == []


@pytest.mark.parametrize("mode", ["observe", "act"])
def test_its_pod_is_admitted(programs: Programs, mode: str) -> None:
    """The pod passes the `restricted` level that the folder's namespace enforces (from 1.25 on the API server does)."""
    programs.does("kubectl", "apply", "-k", RENDERED / mode)

    def pods() -> list[Json]:
        found = programs.plane.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")[1]["items"]
        assert isinstance(found, list)
        return found

    (pod,) = until(pods, lambda found: len(found) == 1)
    assert pod["spec"]["serviceAccountName"] == "lastgood"
    if programs.plane.release >= POD_SECURITY_FROM:
        body = {"metadata": {"name": "root"}, "spec": {"containers": [{"name": "main", "image": "shop:v1"}]}}
        status, answer = programs.plane.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", body)
        assert (status, "violates PodSecurity" in answer["message"]) == (403, True)


def test_the_chart_installs_upgrades_and_goes(programs: Programs) -> None:
    """`helm install`, an upgrade to `act` with all that needs no CRD, and `helm uninstall`. A cluster that is older than the
    chart supports is refused by Helm, before anything is sent.
    """
    minimal = [f"--set={each}" for each in MINIMAL]
    more = [f"--set={each}" for each in WITHOUT_CRDS]
    install: tuple[str | Path, ...] = ("helm", "install", "lastgood", CHART, "--namespace", NAMESPACE, *minimal)
    if programs.plane.release < CHART_FROM:
        done = programs.run(*install)
        assert done.returncode != 0
        assert "chart requires kubeVersion: >=1.25" in done.stderr
        return
    programs.does(*install)
    programs.does("helm", "upgrade", "lastgood", CHART, "--namespace", NAMESPACE, *minimal, *more)
    roles = programs.does("kubectl", "get", "clusterroles", "--output=name")
    assert "clusterrole.rbac.authorization.k8s.io/lastgood-act" in roles
    programs.does("helm", "uninstall", "lastgood", "--namespace", NAMESPACE)
    kinds = "clusterroles,clusterrolebindings,deployments,services,poddisruptionbudgets"
    left = programs.does("kubectl", "get", kinds, "--output=name")
    assert [each for each in left.split() if each.rpartition("/")[2].startswith("lastgood")] == []
