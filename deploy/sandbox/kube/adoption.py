"""What belongs to a workload: what it controls, and the orphans that it takes in."""

from __future__ import annotations

import copy
from collections.abc import Callable

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.resources import Resource
from deploy.sandbox.kube.selectors import everything, spec_matches
from deploy.sandbox.kube.workloads import MANAGER, controlled_by, controller_of, owner_reference

_MAIN = Write(manager=MANAGER)


def claimed(
    registry: Registry, resource: Resource, kind: Resource, owner: Json, *, fits: Callable[[Json], bool] = everything
) -> list[Json]:
    """The objects of ``resource`` that ``owner`` (of ``kind``) controls, sorted by name. Those without a controller
    that its selector matches and that ``fits`` says yes to are adopted first.
    """
    namespace = owner["metadata"]["namespace"]
    own: list[Json] = []
    for one in registry.store.objects(resource, namespace):
        if controlled_by(one, owner):
            own.append(one)
        elif _is_orphan(one) and spec_matches(owner["spec"]["selector"], _labels(one)) and fits(one):
            adopted = copy.deepcopy(one)
            others = adopted["metadata"].get("ownerReferences") or []
            adopted["metadata"]["ownerReferences"] = [*others, owner_reference(kind, owner)]
            own.append(registry.update(resource, namespace, one["metadata"]["name"], adopted, _MAIN))
    return own


def _is_orphan(obj: Json) -> bool:
    return controller_of(obj) is None and not obj["metadata"].get("deletionTimestamp")


def _labels(obj: Json) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}
