"""What the Argo Rollouts controller adds to the pod template of a ReplicaSet, and how to see the template without it.

A ReplicaSet of a Rollout is no plain copy: besides the hash label it carries metadata for as long as it is the canary or
the stable one (`canaryMetadata`, `stableMetadata`; noted in an annotation of the ReplicaSet), and an anti-affinity against
the other revision (`antiAffinity`). Both change while the template stays, and neither belongs on the Rollout.
Source: argo-rollouts 1.10, utils/replicaset/canary.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

HASH_LABEL = "rollouts-pod-template-hash"
REVISION_NUMBER = "rollout.argoproj.io/revision"
EPHEMERAL = "rollout.argoproj.io/ephemeral-metadata"

_TERMS = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"


def is_argo_replica_set(obj: Json) -> bool:
    """Whether the object is a ReplicaSet that Argo Rollouts made: only those carry the label themselves."""
    return HASH_LABEL in ((obj.get("metadata") or {}).get("labels") or {})


def without_additions(template: Json, obj: Json) -> Json:
    """The template of Argo's ReplicaSet `obj` without ephemeral metadata and injected anti-affinity; the label stays."""
    return _without_anti_affinity(_without_ephemeral(template, (obj.get("metadata") or {}).get("annotations") or {}))


def _without_ephemeral(template: Json, annotations: Json) -> Json:
    try:
        added = json.loads(annotations.get(EPHEMERAL) or "{}")
    except (ValueError, RecursionError):
        return template
    if not isinstance(added, dict) or not added:
        return template
    metadata = dict(template.get("metadata") or {})
    for field in ("labels", "annotations"):
        gone = added.get(field)
        if isinstance(gone, dict) and field in metadata:
            metadata[field] = {key: value for key, value in (metadata[field] or {}).items() if key not in gone}
    return {**template, "metadata": metadata}


def _without_anti_affinity(template: Json) -> Json:
    """Without the terms that name the hash label; what they leave empty goes with them, as it came with them."""
    spec = template.get("spec") or {}
    against = (spec.get("affinity") or {}).get("podAntiAffinity") or {}
    left = {kind: [term for term in against.get(kind) or () if not _is_injected(term)] for kind in _TERMS}
    if all(len(left[kind]) == len(against.get(kind) or ()) for kind in _TERMS):
        return template
    kept = {**{k: v for k, v in against.items() if k not in _TERMS}, **{k: v for k, v in left.items() if v}}
    affinity = {k: v for k, v in spec["affinity"].items() if k != "podAntiAffinity"} | (
        {"podAntiAffinity": kept} if kept else {}
    )
    bare = {k: v for k, v in spec.items() if k != "affinity"} | ({"affinity": affinity} if affinity else {})
    return {**template, "spec": bare}


def _is_injected(term: Json) -> bool:
    pods = term.get("podAffinityTerm") or term
    rules = (pods.get("labelSelector") or {}).get("matchExpressions") or ()
    return any(rule.get("key") == HASH_LABEL for rule in rules)
