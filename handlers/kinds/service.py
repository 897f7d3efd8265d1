"""Services that a team switches between two Deployments (blue/green): the switch of the selector is the rollout.

A selector alone does not tell that it is switched, so such a Service says so: `lastgood.dev/blue-green` names the label
whose value is switched. A colour is a Deployment whose pods match the selector apart from that label. The one that is
selected gets all traffic, whatever pods of the others are ready; the others are the history.

A colour's template holds the label, so the hash of the template tells the colour and what it runs at once: a colour that
was deployed anew is another revision, and what was proven of the one before counts no more. Its history object is the
ReplicaSet with its Deployment's present template, because that one's name finds the pods and its creation tells the age.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from handlers import revisions
from handlers.kinds import deployment
from handlers.kinds.kind import History, Kind, Present, Standing, replicas
from handlers.revisions import Json

BLUE_GREEN = "lastgood.dev/blue-green"
"""Annotation on a Service: the label of its selector whose value is switched."""

ARGO_MANAGED = "argo-rollouts.argoproj.io/managed-by-rollouts"
"""On a Service that a Rollout of Argo switches."""

_CONTROLLERS = {"rollouts-controller": "Argo Rollouts", "flagger": "Flagger"}
"""Field managers that switch Services themselves."""

_CANARY = "Canary"


def label_of(service: Json) -> str | None:
    """The label that the annotation names; None where it is absent or empty."""
    annotations: Mapping[str, str] = (service.get("metadata") or {}).get("annotations") or {}
    return (annotations.get(BLUE_GREEN) or "").strip() or None


def selector_of(service: Json) -> dict[str, str]:
    """A copy of `spec.selector`; empty where absent."""
    return dict((service.get("spec") or {}).get("selector") or {})


def why_not(service: Json) -> str | None:
    """Why a Service that has the annotation is not switched by us, as a clause; None where nothing speaks against it."""
    label, selector = label_of(service), selector_of(service)
    other = _switched_by(service)
    if other is not None:
        return f"{other} switches it"
    if label not in selector:
        return f"its selector has no label {label} (annotation {BLUE_GREEN})"
    if len(selector) == 1:
        return f"its selector has nothing but the label {label}, so every Deployment of the namespace could be meant"
    return None


def is_switched(service: Json) -> bool:
    """Whether it is a workload of ours: opted in, and nothing speaks against it."""
    return label_of(service) is not None and why_not(service) is None


def colour_name(service: Json, other: Json) -> str | None:
    """The value of the label that would switch the Service to this Deployment; None where it is no colour of it."""
    label, selector = label_of(service) or "", selector_of(service)
    labels: Mapping[str, str] = (revisions.template_of(other).get("metadata") or {}).get("labels") or {}
    alike = all(labels.get(key) == value for key, value in selector.items() if key != label)
    return labels.get(label) if alike and label in selector else None


def has_selected(service: Json, other: Json) -> bool:
    """Whether the selector means the pods of this Deployment now."""
    return colour_name(service, other) == selector_of(service).get(label_of(service) or "", "")


def colour(service: Json, found: Json, holder: Json) -> dict[str, object] | None:
    """The history object of the Deployment `found`, whose present template `holder` holds; None where it is no colour.

    Numbers stay behind: those of two Deployments say nothing of each other.
    """
    name = colour_name(service, found)
    if name is None:
        return None
    metadata = {k: v for k, v in holder["metadata"].items() if k not in ("annotations", "managedFields")}
    cause = (holder["metadata"].get("annotations") or {}).get(revisions.CHANGE_CAUSE)
    if cause is not None:
        metadata["annotations"] = {revisions.CHANGE_CAUSE: cause}
    if "deletionTimestamp" in found["metadata"]:
        metadata["deletionTimestamp"] = found["metadata"]["deletionTimestamp"]
    return {
        "kind": "ReplicaSet",
        "colour": name,
        "deployment": found,
        "metadata": metadata,
        "spec": {"template": revisions.template_of(holder)},
    }


def present(service: Json, colours: Sequence[Json]) -> Present | None:
    """The colour that is selected, since the selector or the template was written; None where it is not exactly one."""
    chosen = [each for each in colours if has_selected(service, each["deployment"])]
    if len(chosen) != 1:
        return None
    found = chosen[0]
    written = (_selector_writer(service) or {}).get("time")
    made = found["metadata"].get("creationTimestamp")
    since = max(str(written), str(made)) if written and made else written
    return Present(obj=found, returned=True, since=since, standing=_standing(found["deployment"]))


def standing(_service: Json) -> Standing:
    """A Service itself tells nothing; how it stands is in `present`."""
    return Standing(desired=0, converged=False)


def _standing(selected: Json) -> Standing:
    """How the selected Deployment stands. That its own rollout is stuck or paused is its own concern, and no switch."""
    found = deployment.standing(selected)
    return replace(found, converged=found.converged and replicas(selected) > 0, stuck=False, paused=False)


def _switched_by(service: Json) -> str | None:
    """Which controller switches the Service, None where none does."""
    metadata = service.get("metadata") or {}
    if set(selector_of(service)) & revisions.HASH_LABELS or ARGO_MANAGED in (metadata.get("annotations") or {}):
        return "Argo Rollouts"
    if (revisions.controller_of(service) or {}).get("kind") == _CANARY:
        return "Flagger"
    managers = (str(entry.get("manager")) for entry in _selector_entries(metadata))
    return next((_CONTROLLERS[name] for name in managers if name in _CONTROLLERS), None)


def _selector_writer(service: Json) -> Json | None:
    """The newest entry of those who wrote the selector."""
    entries = list(_selector_entries(service.get("metadata") or {}))
    return max(reversed(entries), key=lambda entry: str(entry.get("time") or ""), default=None)


def _selector_entries(metadata: Json) -> Iterator[Json]:
    for entry in metadata.get("managedFields") or ():
        fields = entry.get("fieldsV1")
        # A reflector keeps the owners of the selector only, and drops the field lists. We own nothing of it for long.
        owns = fields is None or "f:selector" in (fields.get("f:spec") or {})
        if owns or entry.get("manager") == revisions.FIELD_MANAGER:
            yield entry


SERVICE = Kind(
    name="Service",
    plural="services",
    history=History.REPLICA_SETS,
    standing=standing,
    api_version="v1",
    present=present,
    selects=True,
)
