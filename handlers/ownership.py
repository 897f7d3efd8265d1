"""Who else writes an object and would overwrite a rollback, or be surprised by it: pure functions over raw JSON.

Labels, annotations, ownerReferences *and* managedFields are read, because each tool leaves other marks and each mark
can be absent (protocols §2.7). The strongest claim wins: an operator reverts within seconds, a GitOps controller within
minutes, Helm only at its next upgrade.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from daemon.core.model import Owner, OwnerKind
from handlers.kinds import Kind, kind_of
from handlers.revisions import Json, controller_of

ARGO_TRACKING_ID = "argocd.argoproj.io/tracking-id"
ARGO_INSTANCE = "argocd.argoproj.io/instance"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
FLUX_KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
FLUX_HELM = "helm.toolkit.fluxcd.io"
HELM_RELEASE = "meta.helm.sh/release-name"
HELM_NAMESPACE = "meta.helm.sh/release-namespace"

ARGO_MANAGERS = frozenset({"argocd-controller", "argocd-application-controller"})
FLUX_MANAGERS = frozenset({"kustomize-controller", "helm-controller"})
HELM_MANAGERS = frozenset({"helm"})
GITOPS_MANAGERS = ARGO_MANAGERS | FLUX_MANAGERS

DRIVERS = frozenset({"Rollout", "Canary"})
"""Kinds of Argo Rollouts and Flagger: what they control (`-primary`) they roll out themselves."""


def owner_of(obj: Json, master: str | None = None) -> Owner | None:
    """The strongest owner of a workload, None where nobody but people and pipelines writes it.

    What a `master` drives (a Rollout that takes its template) is that one's, whoever else writes it.
    """
    if master is not None:
        return Owner(kind=OwnerKind.OPERATOR, name=master, drives=True)
    return next(_claims(obj, kind_of(obj)), None)


def helm_release(obj: Json) -> str | None:
    """`namespace/name` of the Helm release that the object belongs to, None where it belongs to none."""
    metadata = obj.get("metadata") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    name = annotations.get(HELM_RELEASE)
    if name is None:
        return None
    return f"{annotations.get(HELM_NAMESPACE) or metadata.get('namespace') or 'default'}/{name}"


def _claims(obj: Json, kind: Kind) -> Iterator[Owner]:
    """Every claim on the object, strongest first."""
    metadata = obj.get("metadata") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    managers = frozenset(_spec_managers(obj))
    controller = controller_of(obj)
    if controller is not None:
        name = f"{controller.get('kind', '?')}/{controller.get('name', '?')}"
        yield Owner(kind=OwnerKind.OPERATOR, name=name, drives=controller.get("kind") in DRIVERS)
    argo = _argo(obj, kind, managers)
    if argo is not None:
        yield Owner(kind=OwnerKind.ARGO_CD, name=argo)
    flux = _flux(labels, annotations, managers)
    if flux is not None:
        yield Owner(kind=OwnerKind.FLUX, name=flux)
    release = helm_release(obj)
    if release is not None:
        yield Owner(kind=OwnerKind.HELM, name=release)
    elif managers & HELM_MANAGERS:
        yield Owner(kind=OwnerKind.HELM, name=labels.get(INSTANCE, "unknown release"))


def _argo(obj: Json, kind: Kind, managers: frozenset[str]) -> str | None:
    """The Argo CD Application that tracks exactly this object.

    A tracking-id is copied along with manifests and by `kubectl rollout undo`, so one that names another object says
    nothing. `app.kubernetes.io/instance` alone is ambiguous (charts set it too) and counts only with Argo's manager.
    """
    metadata = obj.get("metadata") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    tracking = str((metadata.get("annotations") or {}).get(ARGO_TRACKING_ID) or "")
    app, _, reference = tracking.partition(":")
    if reference and reference == f"{kind.group}/{kind.name}:{metadata.get('namespace')}/{metadata.get('name')}":
        return app
    if ARGO_INSTANCE in labels:
        return labels[ARGO_INSTANCE]
    return labels.get(INSTANCE, "unknown application") if managers & ARGO_MANAGERS else None


def _flux(labels: Mapping[str, str], annotations: Mapping[str, str], managers: frozenset[str]) -> str | None:
    """The Flux Kustomization or HelmRelease, unless the object itself opted out of being reconciled."""
    marks = {**labels, **annotations}
    opted_out = (
        marks.get(f"{FLUX_KUSTOMIZE}/reconcile") == "disabled"
        or marks.get(f"{FLUX_KUSTOMIZE}/ssa", "").lower() in ("ignore", "ifnotpresent")
    )  # fmt: skip
    for prefix, what in ((FLUX_KUSTOMIZE, "Kustomization"), (FLUX_HELM, "HelmRelease")):
        name = labels.get(f"{prefix}/name")
        if name is not None and not (opted_out and prefix == FLUX_KUSTOMIZE):
            return f"{what} {labels.get(f'{prefix}/namespace', '?')}/{name}"
    writers = managers & FLUX_MANAGERS
    return f"{min(writers)}" if writers and not opted_out else None


def _spec_managers(obj: Json) -> Iterator[str]:
    """The managers that own something in `spec`; a status or a label of theirs claims nothing that a rollback
    touches.
    """
    for entry in (obj.get("metadata") or {}).get("managedFields") or ():
        fields = entry.get("fieldsV1")
        # A reflector keeps the owners of the template only, and drops the field lists.
        if not entry.get("subresource") and (fields is None or "f:spec" in fields):
            yield str(entry.get("manager") or "")
