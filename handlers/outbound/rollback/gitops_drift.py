"""What has to follow a rollback of a workload that Argo CD or Flux owns: its source still has the bad revision."""

from __future__ import annotations

from daemon.core.model import Owner, OwnerKind


def warnings(owner: Owner | None) -> tuple[str, ...]:
    """Who still believes in the bad revision, when it comes back, and what makes the rollback permanent."""
    if owner is None:
        return ()
    if owner.kind is OwnerKind.ARGO_CD:
        return (_argo(owner.name.replace("_", "/", 1)),)
    what, _, place = owner.name.partition(" ")
    namespace, _, name = place.partition("/")
    return (_flux(what, namespace, name),) if owner.kind is OwnerKind.FLUX and name else ()


def _argo(app: str) -> str:
    """A tracking-id writes the namespace of an Application before an underscore, the command before a slash."""
    return (
        f"The source of Argo CD application {app} still has the bad revision: the next commit that it syncs, or a sync by "
        f"hand, brings it back, and until then it shows OutOfSync. Revert the commit to make the rollback permanent; "
        f"`argocd app history {app}` lists what was deployed before."
    )


def _flux(what: str, namespace: str, name: str) -> str:
    where = f"{name} --namespace {namespace}"
    again = "`flux resume` and its next interval bring" if what == "Kustomization" else "its next upgrade brings"
    return (
        f"The source of Flux {what} {namespace}/{name} still has the bad revision: {again} it back. Revert the commit, then "
        f"`flux reconcile {what.lower()} {where} --with-source` makes the rollback permanent."
    )
