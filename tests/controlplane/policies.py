"""deploy/policies on a control plane, with the accounts that they let through or stop."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import yaml

from tests import parts
from tests.controlplane.installed import NAMESPACE, lastgood_namespace
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import PROGRAM_SECONDS
from tests.controlplane.workloads import Json, path, until
from tests.repository import ROOT

SINCE = (1, 30)
"""The first minor with ValidatingAdmissionPolicy in admissionregistration.k8s.io/v1."""

API = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
BREAK_GLASS = "lastgood-break-glass"
KEEPER = "keeps-the-informer.tests"
TEAM = "team"
"""A group that may edit everything in the test's namespace, and is named nowhere else."""

_PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Town:
    """A namespace in a cluster with a policy. `person` and `groups` go with each kubectl command, by impersonation."""

    plane: ControlPlane
    namespace: str

    @property
    def pipeline(self) -> str:
        """A service account that may edit everything here."""
        return f"system:serviceaccount:{self.namespace}:pipeline"

    def kubectl(
        self, *words: str, person: str = "ann", groups: tuple[str, ...] = (TEAM,), body: Json | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One command of kubectl by somebody of the team; `body` is its standard input."""
        whose = [f"--as={person}", *(f"--as-group={group}" for group in groups)] if person else []
        return subprocess.run(
            [parts.require("kubectl"), *words, *whose, f"--kubeconfig={self.plane.kubeconfig(namespace=self.namespace)}"],
            input=None if body is None else json.dumps(body),
            capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS,
        )  # fmt: skip

    def passes(self, *words: str, **how: object) -> str:
        """A command that must succeed; what it wrote to stderr."""
        done = self.kubectl(*words, **how)  # type: ignore[arg-type]
        assert done.returncode == 0, done.stderr
        return done.stderr

    def refused(self, by: str, *words: str, **how: object) -> str:
        """A command that the policy must stop; the message."""
        done = self.kubectl(*words, **how)  # type: ignore[arg-type]
        assert done.returncode != 0, done.stdout
        assert f"ValidatingAdmissionPolicy '{by}.lastgood.dev'" in done.stderr, done.stderr
        return done.stderr

    def make(self, plural: str, body: Json) -> tuple[int, Json]:
        """Creates an object as the admin."""
        return self.plane.ask("POST", path(self.namespace, plural), body)

    def see(self, plural: str = "deployments", name: str = "web") -> Json:
        """The object as it is now."""
        return self.plane.ask("GET", path(self.namespace, plural, name))[1]

    def set_data(self, name: str, data: Mapping[str, str]) -> None:
        """The parameters, as given and nothing else; policies see them a moment later."""
        body = {"metadata": {"name": name}, "data": dict(data)}
        where = path_of_configmap(name)
        status, answer = self.plane.ask("PUT", where, body)
        if status == 404:
            status, answer = self.plane.ask("POST", where.rpartition("/")[0], body)
        assert status < 300, answer

    def drop(self, name: str) -> None:
        """Removes the parameters."""
        self.plane.ask("DELETE", path_of_configmap(name))


def path_of_configmap(name: str) -> str:
    """In Lastgood's own namespace."""
    return f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"


@contextmanager
def installed(plane: ControlPlane, *policies: str) -> Iterator[None]:
    """`kubectl apply -k deploy/policies/NAME`, and Lastgood's account with its roles to act; gone at the end."""
    _keep_parameters(plane)
    config = f"--kubeconfig={plane.kubeconfig()}"
    folders = [str(ROOT / "deploy/policies" / policy) for policy in policies]
    with lastgood_namespace(plane, plane.folder):
        for each in _roles():
            _create(plane, each)
        try:
            for folder in folders:
                _kubectl("apply", "-k", folder, config)
            yield
        finally:
            for folder in folders:
                _kubectl("delete", "--ignore-not-found", "-k", folder, config)


def settle(plane: ControlPlane, namespace: str) -> Town:
    """The namespace with its team and its pipeline."""
    account = {"metadata": {"name": "pipeline"}}
    assert plane.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)[0] == 201
    subjects = [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": TEAM},
        {"kind": "ServiceAccount", "name": "pipeline", "namespace": namespace},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    binding = {"metadata": {"name": "edit"}, "roleRef": role, "subjects": subjects}
    assert plane.ask("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)[0] == 201
    town = Town(plane=plane, namespace=namespace)
    until(lambda: town.kubectl("auth", "can-i", "create", "deployments").returncode, lambda code: code == 0)
    return town


def until_status(plane: ControlPlane, method: str, where: str, body: object, wanted: int) -> None:
    """A dry run until it is answered so: policies and their parameters take effect a moment after they are written."""
    asked = f"{where}?dryRun=All"
    until(lambda: plane.ask(method, asked, body), lambda seen: seen[0] == wanted)


def _keep_parameters(plane: ControlPlane) -> None:
    """A policy that concerns nothing and stays for good.

    When the last policy with a ConfigMap as parameter goes, kube-apiserver 1.36 stops its informer of ConfigMaps and cannot
    start it again: a policy that is installed later sees no parameters until the API server is restarted.
    """
    rule = {"apiGroups": ["nobody.example"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"]}
    policy = {
        "metadata": {"name": KEEPER},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "true"}],
        },
    }
    parameters = {"name": "none", "namespace": "default", "parameterNotFoundAction": "Allow"}
    binding = {
        "metadata": {"name": KEEPER},
        "spec": {"policyName": KEEPER, "paramRef": parameters, "validationActions": ["Audit"]},
    }
    for plural, body in (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)):
        status, answer = plane.ask("POST", f"{API}/{plural}", body)
        assert status in (201, 409), answer


def _roles() -> list[Json]:
    documents = yaml.safe_load_all((ROOT / "deploy/kubernetes/act/manifests.yaml").read_text())
    return [each for each in documents if each["kind"] in _PLURALS]


def _create(plane: ControlPlane, body: Json) -> None:
    plural = _PLURALS[body["kind"]]
    where = f"/api/v1/namespaces/{NAMESPACE}/{plural}" if body["kind"] == "ServiceAccount" else f"{RBAC}/{plural}"
    body["metadata"].pop("namespace", None)
    status, answer = plane.ask("POST", where, body)
    assert status == 201, answer


def _kubectl(*words: str) -> None:
    done = subprocess.run(
        [parts.require("kubectl"), *words], capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS
    )
    assert done.returncode == 0, done.stderr
