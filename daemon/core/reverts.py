"""How a person reverts a workload that a GitOps controller owns: where its source is, not in the cluster.

A rollback in the cluster would be written over within seconds or minutes. What can be named is named exactly: the commit, as the
deployment event told it, and the controller's own object. Sources: the manuals of `argocd app` and `flux reconcile`.
"""

from __future__ import annotations

import re

from daemon.core.model import Owner, OwnerKind

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9._/]{0,250}[a-z0-9])?")


def reverts(owner: Owner | None, commit: str | None) -> tuple[str, ...]:
    """Commands in the order in which they are run; empty where nobody but people owns it, or nothing can be named."""
    if owner is None or owner.kind not in (OwnerKind.ARGO_CD, OwnerKind.FLUX):
        return ()
    undo = (f"git revert --no-edit {commit}",) if commit is not None and _COMMIT.fullmatch(commit) else ()
    return (*undo, *(_argo(owner.name) if owner.kind is OwnerKind.ARGO_CD else _flux(owner.name)))


def _argo(name: str) -> tuple[str, ...]:
    """A tracking id writes the namespace of an Application before an underscore, the command before a slash."""
    app = name.replace("_", "/", 1)
    return (f"argocd app history {app}",) if _NAME.fullmatch(app) else ()


def _flux(name: str) -> tuple[str, ...]:
    kind, _, place = name.partition(" ")
    namespace, _, called = place.partition("/")
    if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(called)):
        return ()
    return (f"flux reconcile {kind.lower()} {called} --namespace {namespace} --with-source",)
