"""Whether a GitOps controller leaves a rollback alone until its source changes: from its own object, as it is now.

Argo CD reverts a change in the cluster only with self-heal; Flux' kustomize-controller at every interval; its helm-controller
only with drift detection; none of them while suspended (protocols §2.6). What is not read, not found or not certain is taken
for one that reverts, and the note says which. Pure functions over raw JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.core.model import Owner, OwnerKind
from handlers.kinds import KINDS
from handlers.store import Obj, Store, whole

APPLICATIONS, KUSTOMIZATIONS, HELM_RELEASES = "applications", "kustomizations", "helmreleases"

API_VERSIONS: Mapping[str, str] = {
    APPLICATIONS: "argoproj.io/v1alpha1",
    KUSTOMIZATIONS: "kustomize.toolkit.fluxcd.io/v1",
    HELM_RELEASES: "helm.toolkit.fluxcd.io/v2",
}
"""The collections that are read where the cluster knows them, by plural."""

HISTORY_MAX = 10
"""Entries of an Application's history that are kept, the newest ones: Argo CD keeps as many by default."""

_IN_CLUSTER = "https://kubernetes.default.svc"
_FLUX = {"Kustomization": KUSTOMIZATIONS, "HelmRelease": HELM_RELEASES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One of the collections. Nobody may read it: whatever it held once says nothing any more."""

    store: Store = field(default_factory=Store)
    readable: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether the owner leaves a rollback alone, and why it is thought so, for people."""

    yields: bool
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The collections by plural; those that are missing are not read."""

    by_plural: Mapping[str, Source] = field(default_factory=dict)

    def of(self, plural: str) -> Source:
        """One of them."""
        return self.by_plural.get(plural) or Source()


def answer(sources: Sources, workload: Obj, owner: Owner | None) -> Answer:
    """What the owner does about a rollback of the workload; of other owners than Argo CD and Flux nothing is said."""
    if owner is None or owner.kind not in (OwnerKind.ARGO_CD, OwnerKind.FLUX):
        return Answer(yields=False, note="")
    if owner.kind is OwnerKind.ARGO_CD:
        return _argo(sources.of(APPLICATIONS), workload, owner.name)
    what, _, place = owner.name.partition(" ")
    plural = _FLUX.get(what)
    if plural is None:
        return _no("its Kustomization or HelmRelease is not known")
    return _flux(sources.of(plural), what, *place.split("/", 1))


def application(obj: Obj) -> Obj:
    """Of an Application: how it syncs and where to, which workloads are its own, and what it deployed before."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    resources = [_slim(each) for each in status.get("resources") or () if _is_workload(each)]
    history = [_picked(each, "id", "revision", "revisions", "deployedAt") for each in status.get("history") or ()]
    slim = {
        "metadata": _named(obj),
        "spec": _picked(spec, "syncPolicy", "destination"),
        "status": {
            "resources": resources,
            "sync": _picked(status.get("sync") or {}, "revision"),
            "history": history[-HISTORY_MAX:],
        },
    }
    return whole(slim, keep=None)


def flux_object(obj: Obj) -> Obj:
    """Of a Kustomization or HelmRelease: whether it is suspended, corrects drift, or writes to another cluster."""
    spec = obj.get("spec") or {}
    kept = _picked(spec, "suspend", "driftDetection") | {"remote": spec.get("kubeConfig") is not None}
    return whole({"metadata": _named(obj), "spec": kept}, keep=None)


def is_same(old: Obj | None, new: Obj | None) -> bool:
    """Whether a change says nothing new about drift: a status is written at every interval."""
    if old is None or new is None:
        return False
    return all(old.get(part) == new.get(part) for part in ("spec", "status"))


def workloads_of(obj: Obj) -> Iterator[tuple[str, str, str]]:
    """Kind, namespace and name of the workloads that an Application lists."""
    for each in (obj.get("status") or {}).get("resources") or ():
        yield each["kind"], each["namespace"], each["name"]


def deploys(obj: Obj, workload: Obj, name: str) -> bool:
    """Whether an Application, raw, is called so, lists the workload, and is known to deploy to this cluster."""
    app = application(obj)
    return name in _names(app) and _lists(app, workload) and _is_here(app)


def flux_name(plural: str, obj: Obj) -> str:
    """The name of the Owner that the object is (`handlers.ownership`)."""
    what = next(kind for kind, found in _FLUX.items() if found == plural)
    return f"{what} {obj['metadata'].get('namespace')}/{obj['metadata']['name']}"


def _argo(source: Source, workload: Obj, name: str) -> Answer:
    if not source.readable():
        return _no("its Application cannot be read")
    found = [each for each in source.store if name in _names(each) and _lists(each, workload)]
    if not found:
        return _no("no Application of that name lists the workload")
    if len(found) > 1:
        places = ", ".join(sorted(_place(each) for each in found))
        return _no(f"more than one Application of that name lists the workload: {places}")
    app = found[0]
    if not _is_here(app):
        return _no(f"the destination of Application {_place(app)} is not known to be this cluster")
    automated = (app["spec"].get("syncPolicy") or {}).get("automated")
    if automated is None or automated.get("enabled") is False:
        return Answer(yields=True, note=f"Application {_place(app)} is synced by hand only")
    if automated.get("selfHeal") is True:
        return _no(f"self-heal is on in Application {_place(app)}")
    return Answer(yields=True, note=f"self-heal is off in Application {_place(app)}")


def _flux(source: Source, what: str, namespace: str, name: str) -> Answer:
    if not source.readable():
        return _no(f"its {what} cannot be read")
    found = source.store.get(namespace, name)
    if found is None:
        return _no(f"there is no {what} {namespace}/{name}")
    spec = found["spec"]
    if spec["remote"]:
        return _no(f"{what} {namespace}/{name} writes to another cluster by its kubeConfig")
    if spec.get("suspend") is True:
        return Answer(yields=True, note=f"{what} {namespace}/{name} is suspended")
    if what == "Kustomization":
        return _no(f"Kustomization {namespace}/{name} is applied at every interval")
    if (spec.get("driftDetection") or {}).get("mode") == "enabled":
        return _no(f"drift detection is enabled in HelmRelease {namespace}/{name}")
    return Answer(yields=True, note=f"drift detection is off in HelmRelease {namespace}/{name}")


def _no(note: str) -> Answer:
    return Answer(yields=False, note=note)


def _names(app: Obj) -> Sequence[str]:
    """How a tracking-id may call it: applications in any namespace are named with theirs."""
    metadata = app["metadata"]
    return metadata["name"], f"{metadata.get('namespace')}_{metadata['name']}"


def _place(app: Obj) -> str:
    return f"{app['metadata'].get('namespace')}/{app['metadata']['name']}"


def _lists(app: Obj, workload: Obj) -> bool:
    metadata = workload["metadata"]
    return (workload["kind"], metadata["namespace"], metadata["name"]) in set(workloads_of(app))


def _is_here(app: Obj) -> bool:
    """A remote cluster may have a workload of the same name; only Argo CD's own name for its cluster is certain."""
    destination = app["spec"].get("destination") or {}
    return str(destination.get("server") or "").rstrip("/") == _IN_CLUSTER or destination.get("name") == "in-cluster"


def _is_workload(resource: Mapping[str, Any]) -> bool:
    kind = KINDS.get(str(resource.get("kind")))
    return kind is not None and (resource.get("group") or "") == kind.group and bool(resource.get("namespace"))


def _slim(resource: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(resource[key]) for key in ("kind", "namespace", "name")}


def _named(obj: Obj) -> Obj:
    return _picked(obj["metadata"], "name", "namespace", "uid", "resourceVersion")


def _picked(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value[key] for key in keys if key in value}
