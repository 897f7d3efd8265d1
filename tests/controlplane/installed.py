"""The namespace that the rendered folders name, for one installation of Lastgood at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import Programs
from tests.controlplane.workloads import Json, until

NAMESPACE = "lastgood"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:lastgood"

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
PLACES = {
    "ServiceAccount": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "ClusterRole": f"{_RBAC}/clusterroles",
    "ClusterRoleBinding": f"{_RBAC}/clusterrolebindings",
    "Role": f"{_RBAC}/namespaces/{NAMESPACE}/roles",
    "RoleBinding": f"{_RBAC}/namespaces/{NAMESPACE}/rolebindings",
}


def install(plane: ControlPlane, objects: Iterable[Json]) -> None:
    """The account and its roles, out of all that a rendered folder or the chart holds."""
    for each in objects:
        if each["kind"] in PLACES:
            status, answer = plane.ask("POST", PLACES[each["kind"]], each)
            assert status == 201, answer


@contextmanager
def lastgood_namespace(plane: ControlPlane, folder: Path) -> Iterator[Programs]:
    """Kubectl and helm in a namespace `lastgood`, which is gone afterwards, with all that stands outside of it."""
    where = f"/api/v1/namespaces/{NAMESPACE}"
    assert plane.ask("GET", where)[0] == 404
    assert plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})[0] == 201
    try:
        yield Programs(plane=plane, namespace=NAMESPACE, folder=folder)
    finally:
        for plural in ("clusterrolebindings", "clusterroles"):
            collection = f"/apis/rbac.authorization.k8s.io/v1/{plural}"
            for each in plane.ask("GET", collection)[1]["items"]:
                if each["metadata"]["name"].startswith("lastgood-"):
                    plane.ask("DELETE", f"{collection}/{each['metadata']['name']}")
        plane.ask("DELETE", where)
        # No controller runs that would take the protection away.
        claim = f"{where}/persistentvolumeclaims/lastgood"
        plane.ask("PATCH", claim, {"metadata": {"finalizers": None}}, kind="application/merge-patch+json")
        until(lambda: plane.ask("GET", where)[0], lambda status: status == 404)
