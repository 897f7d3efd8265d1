"""The folders of deploy/kubernetes, applied: what the account in them may do, by the real authorizer, and what it is told.

That each right of the chart's roles is needed, one by one, is test_rights.py; here it is the manifests as people apply them,
and `lastgood check-access` as the process that they run.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.cli.exits import Exit
from handlers.kube import resource_path
from handlers.rights import Grant, triples
from tests.controlplane.installed import ACCOUNT, lastgood_namespace
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import Programs, client_of, image, rolled_out
from tests.controlplane.workloads import Json, path
from tests.packaging.chart import RENDERED, build
from tests.packaging.symptoms import Triple, symptoms, without
from tests.repository import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
GROUPS = ["system:serviceaccounts", "system:serviceaccounts:lastgood", "system:authenticated"]
HELD = {"observe": triples(Grant.READ), "act": triples(Grant.READ, Grant.ACT)}

SOME = [("watch", "", "pods"), ("get", "apps", "deployments"), ("patch", "apps", "deployments")]
"""Of the rights, for a process each; test_rights.py asks for all of them."""

WORKLOADS = [
    *(
        ("apps/v1", each)
        for each in ("deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions")
    ),
    ("v1", "pods"),
    ("batch/v1", "jobs"),
    # The authorizer is asked first, whether there is such a kind or not.
    ("argoproj.io/v1alpha1", "rollouts"),
    ("flagger.app/v1beta1", "canaries"),
]
WRITES = ("POST", "PUT", "PATCH", "DELETE", "DELETE all")


@dataclass
class Installed:
    """A folder of deploy/kubernetes, applied by kubectl."""

    programs: Programs
    applied: str = ""

    @property
    def plane(self) -> ControlPlane:
        return self.programs.plane

    def apply(self, mode: str, triple: Triple | None = None) -> None:
        """The folder's objects, without one right in the roles if so said; returns when the authorizer knows."""
        if self.applied != mode:
            for name in ("lastgood-act", "lastgood-read"):
                self.plane.ask("DELETE", f"{ROLES}/{name}")
            self.programs.does("kubectl", "apply", "-k", RENDERED / mode)
            self.applied = mode
        roles = [each for each in build(mode) if each["kind"] == "ClusterRole"]
        for each in roles if triple is None else without(roles, triple):
            patch = {"rules": each["rules"]}
            where = f"{ROLES}/{each['metadata']['name']}"
            status, answer = self.plane.ask("PATCH", where, patch, kind="application/merge-patch+json")
            assert status == 200, answer
        self._settles(HELD[mode] - {triple})

    def _settles(self, held: set[Triple | None] | frozenset[Triple]) -> None:
        asked = triples(Grant.READ, Grant.ACT)
        ends = time.monotonic() + 30
        while (seen := {each for each in asked if self._may(each)}) != held:
            assert time.monotonic() < ends, seen ^ held

    def _may(self, triple: Triple) -> bool:
        verb, group, resource = triple
        attributes = {"verb": verb, "group": group, "resource": resource}
        spec = {"user": ACCOUNT, "groups": GROUPS, "resourceAttributes": attributes}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status, answer = self.plane.ask("POST", REVIEWS, review)
        assert status == 201, answer
        return bool(answer["status"]["allowed"])

    def check_access(self, folder: Path, mode: str = "approve") -> subprocess.CompletedProcess[str]:
        """`lastgood check-access` as a process of its own, with the account's token, for a policy of this mode."""
        config = folder / "lastgood.yaml"
        kubeconfig = self.plane.kubeconfig(ACCOUNT)
        config.write_text(
            f"cluster: test\nkubernetes: {{kubeconfig: {kubeconfig}}}\npolicy: {{default_mode: {mode}}}\n"
        )
        return subprocess.run(
            [sys.executable, "-m", "daemon", "check-access", "--config", config],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with lastgood_namespace(control_plane, tmp_path_factory.mktemp("installed")) as programs:
        yield Installed(programs)


async def test_act_is_enough(installed: Installed, namespace: str, tmp_path: Path) -> None:
    """Under the folder's roles the daemon's own parts watch, check and roll back, and check-access ends with 0."""
    await asyncio.to_thread(installed.apply, "act")
    async with rolled_out(installed.plane, namespace) as there, client_of(installed.plane, ACCOUNT) as client:
        assert await symptoms(client, [there.action()]) == set()
        assert image(there.web()) == "shop:v1"
    done = await asyncio.to_thread(installed.check_access, tmp_path)
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert "all that is needed is there" in done.stdout


async def test_observe_watches_and_cannot_act(installed: Installed, namespace: str, tmp_path: Path) -> None:
    """Under the other folder's roles it watches and checks; a rollback is refused, and check-access says what is missing."""
    await asyncio.to_thread(installed.apply, "observe")
    async with rolled_out(installed.plane, namespace) as there, client_of(installed.plane, ACCOUNT) as client:
        assert await symptoms(client, [there.action()]) == {
            "check Deployment: may not patch",
            "roll back Deployment",
        }
        assert image(there.web()) == "shop:v2"
    armed = await asyncio.to_thread(installed.check_access, tmp_path)
    assert (armed.returncode, armed.stderr) == (Exit.REFUSED, "")
    assert "no: patch deployments.apps" in armed.stdout
    watching = await asyncio.to_thread(installed.check_access, tmp_path, "observe")
    assert (watching.returncode, watching.stderr) == (Exit.OK, "")


@pytest.mark.parametrize("write", WRITES)
def test_observe_has_no_write_verb_on_workloads(installed: Installed, namespace: str, write: str) -> None:
    """Each write, sent with the account's token to each kind of workload and its history: 403 by the authorizer."""
    installed.apply("observe")
    method, everything = write.split(maxsplit=1)[0], write.endswith("all")
    for api_version, plural in WORKLOADS:
        collection = resource_path(api_version, plural, namespace=namespace)
        where = collection if method == "POST" or everything else f"{collection}/web"
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        status, answer = installed.plane.ask(method, f"{where}?dryRun=All", {}, user=ACCOUNT, kind=kind)
        assert (status, answer["reason"]) == (403, "Forbidden"), f"{write} {plural}"
        assert ACCOUNT in answer["message"]


@pytest.mark.parametrize("triple", SOME, ids="-".join)
def test_the_process_names_the_right_that_is_missing(installed: Installed, tmp_path: Path, triple: Triple) -> None:
    """One right taken out of the applied role: check-access ends with 1 and names it, and nothing else is missing."""
    installed.apply("act", triple)
    done = installed.check_access(tmp_path)
    verb, group, resource = triple
    assert (done.returncode, done.stderr) == (Exit.REFUSED, "")
    assert f"no: {verb} {resource}{f'.{group}' if group else ''} (" in done.stdout
    assert "NOT ENOUGH: 1 missing" in done.stdout


def test_it_reads_no_secret(installed: Installed, namespace: str) -> None:
    """Neither folder lets it see a Secret, by name, list or watch."""
    for mode in HELD:
        installed.apply(mode)
        for where in ("/api/v1/secrets", f"/api/v1/namespaces/{namespace}/secrets/token", "/api/v1/secrets?watch=true"):
            answer: tuple[int, Json] = installed.plane.ask("GET", where, user=ACCOUNT)
            assert answer[0] == 403, where
    assert installed.plane.ask("GET", path(namespace, "deployments"), user=ACCOUNT)[0] == 200
