"""Going back by giving up the update in flight: what is allowed where its owner would revert anything else."""

from __future__ import annotations

from daemon.core import owners
from daemon.core.model import OwnerKind, Revision, WorkloadView

_GITOPS = (OwnerKind.ARGO_CD, OwnerKind.FLUX)
"""They write what a manifest holds, and an abort is not in it. What an operator writes nobody knows."""


def is_all_it_takes(view: WorkloadView, target: Revision) -> bool:
    """Whether the target is gone back to by an abort, past a GitOps controller that would revert another template."""
    gitops = view.owner is not None and view.owner.kind in _GITOPS
    return gitops and not owners.leaves_it(view) and view.abort_to == target.id
