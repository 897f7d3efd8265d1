"""`lastgood check-access`: the table, the exit codes, and one line with a remedy for all that can go wrong."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from daemon.cli import access, commands
from daemon.cli.exits import Exit
from daemon.cli.terminal import Screen
from deploy.sandbox.kube import SandboxCluster
from deploy.sandbox.kube.access_reviews import Grants, ServiceAccount
from handlers.access_check import Answer, Finding, Report
from tests.cli.desk import Typed, exit_code, one_line
from tests.repository import ROOT

pytestmark = pytest.mark.real

ARMED = "policy: {modes: [{namespaces: [shop], mode: approve}]}\n"


@dataclass
class Room:
    """A sandbox with the roles of a rendered folder, and somebody who types."""

    cluster: SandboxCluster
    folder: Path
    captured: pytest.CaptureFixture[str]

    def holds(self, mode: str) -> None:
        """Hand out the roles of deploy/kubernetes."""
        text = (ROOT / f"deploy/kubernetes/{mode}/manifests.yaml").read_text()
        objects = [each for each in yaml.safe_load_all(text) if each]
        grants = Grants(objects, ServiceAccount(namespace="lastgood", name="lastgood"))
        self.cluster.server.allow = grants.allows
        self.cluster.faults.on_request = grants.check

    async def types(self, *words: str, config: str = "") -> Typed:
        """The answer with this configuration, at the sandbox unless it says otherwise."""
        where = "" if "kubernetes" in config else f"kubernetes: {{url: '{self.cluster.url}'}}\n"
        path = self.folder / "lastgood.yaml"
        path.write_text(f"cluster: test\n{where}{config}")
        return await self.types_exactly("check-access", "--config", str(path), *words)

    async def types_exactly(self, *line: str) -> Typed:
        """The answer to exactly these words."""
        code = await asyncio.to_thread(exit_code, lambda: commands.main(line))
        out, err = self.captured.readouterr()
        return Typed(code, out, err)


@pytest.fixture
async def room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Room]:
    async with opened(tmp_path, capsys) as found:
        yield found


@asynccontextmanager
async def opened(folder: Path, captured: pytest.CaptureFixture[str]) -> AsyncIterator[Room]:
    async with SandboxCluster(network=45) as cluster:
        yield Room(cluster, folder, captured)


async def test_the_observe_role_is_enough_to_observe(room: Room) -> None:
    """Under the rendered observe role: 0, every row yes but the optional Secrets."""
    room.holds("observe")
    typed = await room.types()
    assert (typed.code, typed.err) == (Exit.OK, "")
    assert "all that is needed is there\n" in typed.out
    rows = [line.split() for line in typed.out.splitlines() if " cluster " in line and " -> " not in line]
    assert {row[0]: row[-1] for row in rows if "secrets" not in row[0]}.keys() == {
        "deployments.apps", "statefulsets.apps", "daemonsets.apps", "replicasets.apps", "controllerrevisions.apps",
        "pods", "services", "configmaps", "namespaces", "rollouts.argoproj.io", "canaries.flagger.app",
        "applications.argoproj.io", "kustomizations.kustomize.toolkit.fluxcd.io", "helmreleases.helm.toolkit.fluxcd.io",
        "persistentvolumeclaims", "serviceaccounts", "selfsubjectaccessreviews.authorization.k8s.io",
    }  # fmt: skip
    assert "no (optional): get secrets (cluster)" in typed.out


async def test_arming_needs_the_act_role(room: Room) -> None:
    """An armed policy under the observe role: 1, each right to patch is named with the chart's value and kubectl's words."""
    room.holds("observe")
    typed = await room.types(config=ARMED)
    assert (typed.code, typed.err) == (Exit.REFUSED, "")
    assert "NOT ENOUGH: 3 missing" in typed.out
    for plural in ("deployments", "statefulsets", "daemonsets"):
        assert f"no: patch {plural}.apps (shop)" in typed.out
    assert "rbac.mode=act" in typed.out
    assert (
        "     kubectl -n shop create role lastgood-act-deployments --verb=patch --resource=deployments.apps\n"
        in typed.out
    )


async def test_more_than_needed_is_no_failure(room: Room) -> None:
    """The act role under a policy that only observes: 0, and each right to patch is named as more than needed."""
    room.holds("act")
    typed = await room.types()
    assert typed.code == Exit.OK
    assert "all that is needed is there, 5 more than needed" in typed.out
    for plural in ("deployments.apps", "statefulsets.apps", "daemonsets.apps", "rollouts.argoproj.io"):
        assert f"more than needed: patch {plural} (cluster)" in typed.out
    assert "more than needed: patch rollouts.argoproj.io/status (cluster)" in typed.out


LEASED = "lease: {enabled: true, namespace: ops, name: web}\n"


async def test_a_lease_needs_its_role(room: Room) -> None:
    """With a lease and the roles of a single daemon: 1, the one Lease named with commands for it; without one nothing."""
    room.holds("observe")
    typed = await room.types(config=LEASED)
    assert (typed.code, typed.err) == (Exit.REFUSED, "")
    assert "NOT ENOUGH: 2 missing" in typed.out
    assert "no: create leases.coordination.k8s.io (ops)" in typed.out
    assert "no: get, update leases.coordination.k8s.io/web (ops)" in typed.out
    assert "     kubectl -n ops create role lastgood-lead-leases-web --verb=get,update " in typed.out
    assert "--resource=leases.coordination.k8s.io --resource-name=web\n" in typed.out
    rows = json.loads((await room.types("--json", config=LEASED)).out)["rights"]
    assert [each["name"] for each in rows if each["resource"] == "leases"] == ["", "web"]
    without = await room.types(config=LEASED.replace("true", "false"))
    assert without.code == Exit.OK
    assert "coordination" not in without.out


async def test_a_lease_outside_a_pod(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody says the Lease's namespace: a note in place of the answer, and the exit code is that of the rest."""
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    room.holds("observe")
    typed = await room.types(config="lease: {enabled: true}\n")
    assert (typed.code, typed.err) == (Exit.OK, "")
    assert "note: lease.namespace is not set" in typed.out


async def test_json_for_programs(room: Room) -> None:
    """The same as JSON: every right with its answer, and whether it is enough."""
    room.holds("observe")
    typed = await room.types("--json", config=ARMED)
    found = json.loads(typed.out)
    assert (typed.code, found["ok"], found["asked_as"]) == (Exit.REFUSED, False, None)
    missing = [row for row in found["rights"] if row["answer"] == "no"]
    assert [row["resource"] for row in missing] == ["deployments", "statefulsets", "daemonsets"]
    for lacks in missing:
        assert (lacks["verbs"], lacks["group"]) == (["patch"], "apps")
        assert (lacks["namespaces"], lacks["needed_for"]) == (["shop"], ["roll back"])
        assert len(lacks["commands"]) == 2


async def test_nothing_is_changed(room: Room) -> None:
    """It only reads and asks: every request is a review or a list."""
    room.holds("act")
    await room.types(config="policy: {default_mode: auto}\n")
    for record in room.cluster.faults.log:
        assert record.method == "GET" or record.path.endswith("reviews"), record.path


async def test_no_api_server(room: Room) -> None:
    """Nobody listens there: 3, one line with a remedy."""
    typed = await room.types(config="kubernetes: {url: 'http://127.0.0.1:9'}\n")
    assert (typed.code, typed.out) == (Exit.UNREACHABLE, "")
    assert "exec deploy/lastgood" in one_line(typed.err)


async def test_no_kubeconfig(room: Room) -> None:
    """A kubeconfig that is not there: 3, named."""
    typed = await room.types(config=f"kubernetes: {{kubeconfig: '{room.folder}/none'}}\n")
    assert (typed.code, typed.out) == (Exit.UNREACHABLE, "")
    assert "/none does not exist" in one_line(typed.err)


@pytest.mark.parametrize(("status", "remedy"), [(401, "renew the token"), (403, "system:basic-user")])
async def test_not_allowed_to_ask(room: Room, status: int, remedy: str) -> None:
    """A refused credential, or one that may not even ask: 4, one line with its remedy."""
    room.cluster.faults.fail(100, status=status, path="selfsubject")
    typed = await room.types()
    assert (typed.code, typed.out) == (Exit.UNAUTHORISED, "")
    assert remedy in one_line(typed.err)


async def test_a_bad_configuration(room: Room) -> None:
    """5, one line that names the field."""
    typed = await room.types(config="clutser: x\n")
    assert (typed.code, typed.out) == (Exit.CONFIGURATION, "")
    assert "clutser" in one_line(typed.err)
    assert "check-config" in typed.err


async def test_no_configuration(room: Room) -> None:
    """Without one nobody can say what is needed: 5, and how to name it."""
    typed = await room.types_exactly("check-access")
    assert (typed.code, typed.out) == (Exit.CONFIGURATION, "")
    assert "--config" in one_line(typed.err)


async def test_with_a_kubeconfig(room: Room) -> None:
    """Outside the pod it asks with the kubeconfig's credential."""
    room.holds("observe")
    path = room.cluster.write_kubeconfig(room.folder / "kubeconfig")
    typed = await room.types(config=f"kubernetes: {{kubeconfig: '{path}'}}\n")
    assert (typed.code, typed.err) == (Exit.OK, "")


def test_what_an_api_server_says_cannot_act_on_the_terminal() -> None:
    """Names from outside are shown without escape sequences, and long lists are counted."""
    names = tuple(f"n{number}\x1b[31m" for number in range(9))
    found = Finding(
        group="apps", resource="deployments", verbs=("patch",), namespaces=names, answer=Answer.NO, remedy="x"
    )
    out = io.StringIO()
    access.tell(Report(asked_as="eve\x1b[2J", findings=(found,), notes=("a\x1b]0;b",)), Screen(out))
    assert "\x1b" not in out.getvalue()
    assert "and 4 more" in out.getvalue()
