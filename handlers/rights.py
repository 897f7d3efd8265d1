"""Every right that Lastgood has in a cluster: the one list that roles, checks and the documentation are held to.

The chart's roles are exactly this list (tests/packaging/test_rights.py, both directions), `lastgood check-access` and
preflight ask for nothing else, and deploy/docs/access.md is written from it. A new call to the API server begins here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from daemon.core.model import Mode
from daemon.core.policy import GitOps


class Feature(StrEnum):
    """What a right is needed for; the values are shown to people."""

    WATCH = "watch the cluster"
    CHECK = "check a target"
    SECRETS = "check a target's Secrets"
    ACT = "roll back"
    FREE = "free a StatefulSet from a broken pod"
    SWITCH = "switch a Service back"
    AROUND = "get around a GitOps controller"
    LEAD = "lead among several daemons"
    ASK = "ask what it may do"


class Grant(StrEnum):
    """What gives a right: a value of the chart, or Kubernetes itself."""

    READ = "rbac.create=true"
    SECRETS = "rbac.secretsMetadata=true"
    ACT = "rbac.mode=act"
    PODS = "rbac.deletePods=true"
    SERVICES = "rbac.switchServices=true"
    GITOPS = "rbac.gitops=true"
    LEASE = "config.lease.enabled=true"
    EVERYBODY = "system:basic-user"


class Place(StrEnum):
    """Where a right is needed; the values are shown to people."""

    CLUSTER = "all namespaces"
    ARMED = "where it may act"
    OWNERS = "where they are"
    LEASE = "the Lease's namespace"


_GRANTS = {
    Feature.WATCH: Grant.READ,
    Feature.CHECK: Grant.READ,
    Feature.SECRETS: Grant.SECRETS,
    Feature.ACT: Grant.ACT,
    Feature.FREE: Grant.PODS,
    Feature.SWITCH: Grant.SERVICES,
    Feature.AROUND: Grant.GITOPS,
    Feature.LEAD: Grant.LEASE,
    Feature.ASK: Grant.EVERYBODY,
}

_PLACES = {
    Grant.ACT: Place.ARMED,
    Grant.PODS: Place.ARMED,
    Grant.SERVICES: Place.ARMED,
    Grant.GITOPS: Place.OWNERS,
    Grant.LEASE: Place.LEASE,
}
"""Where what gives it is not for the whole cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """A verb on a resource, as RBAC names them (`group` is empty for the core API), and what it is for.

    Two features may need the same verb on the same resource; then it stands twice in the list.
    """

    verb: str
    group: str
    resource: str
    feature: Feature
    why: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"

    @property
    def triple(self) -> tuple[str, str, str]:
        """Verb, group and resource: what a role holds."""
        return self.verb, self.group, self.resource

    @property
    def qualified(self) -> str:
        """The resource as kubectl takes it: `deployments.apps`, `pods`, `rollouts.argoproj.io/status`."""
        return qualified(self.group, self.resource)

    @property
    def grant(self) -> Grant:
        """What gives it."""
        return _GRANTS[self.feature]

    @property
    def since(self) -> Mode:
        """The first mode that needs it."""
        return Mode.APPROVE if self.place in (Place.ARMED, Place.OWNERS) else Mode.OBSERVE

    @property
    def place(self) -> Place:
        """Where it is needed."""
        return _PLACES.get(self.grant, Place.CLUSTER)

    @property
    def for_one_object(self) -> bool:
        """Whether a role narrows it to one object by its name; what is created has no name yet that RBAC could compare."""
        return self.place is Place.LEASE and self.verb != "create"

    @property
    def tool(self) -> str | None:
        """The tool that the right is about; most clusters have not installed it."""
        return ARGO_CD if self.resource == "applications" else TOOLS.get(self.group)

    @property
    def optional(self) -> bool:
        """Whether Lastgood does its work without it, and says what it could not look at."""
        if self.grant is Grant.GITOPS:
            return False  # asked for only where policy.gitops names the way
        return self.grant in (Grant.SECRETS, Grant.SERVICES) or self.tool is not None

    @property
    def way(self) -> GitOps | None:
        """The way around a controller that needs it, where it is needed for that alone."""
        if self.feature is not Feature.AROUND:
            return None
        return GitOps.ARGOCD_ROLLBACK if self.resource == "applications" else GitOps.FLUX_SUSPEND


ARGO_CD = "Argo CD"
"""It shares its API group with Argo Rollouts."""

TOOLS = {
    "argoproj.io": "Argo Rollouts",
    "flagger.app": "Flagger",
    "kustomize.toolkit.fluxcd.io": "Flux",
    "helm.toolkit.fluxcd.io": "Flux",
}
"""By API group: what brings its own kinds. Where it is not installed, a right to them is neither needed nor worth anything."""


def qualified(group: str, resource: str) -> str:
    """A resource, which may have a subresource, as kubectl takes it."""
    plural, slash, subresource = resource.partition("/")
    return f"{plural}.{group}{slash}{subresource}" if group else resource


def _rights(feature: Feature, group: str, resource: str, verbs: str, why: str) -> Iterator[Right]:
    for verb in verbs.split():
        yield Right(verb=verb, group=group, resource=resource, feature=feature, why=why)


RIGHTS: tuple[Right, ...] = (
    *_rights(Feature.WATCH, "apps", "deployments", "list watch", "what runs, and every rollout"),
    *_rights(Feature.WATCH, "apps", "statefulsets", "list watch", "what runs, and every rollout"),
    *_rights(Feature.WATCH, "apps", "daemonsets", "list watch", "what runs, and every rollout"),
    *_rights(Feature.WATCH, "argoproj.io", "rollouts", "list watch", "what runs, and every rollout"),
    *_rights(Feature.WATCH, "flagger.app", "canaries", "list watch", "which Deployments Flagger drives"),
    *_rights(
        Feature.WATCH, "argoproj.io", "applications", "list watch", "whether Argo CD's self-heal reverts a rollback"
    ),
    *_rights(
        Feature.WATCH, "kustomize.toolkit.fluxcd.io", "kustomizations", "list watch", "whether Flux reverts a rollback"
    ),
    *_rights(Feature.WATCH, "helm.toolkit.fluxcd.io", "helmreleases", "list watch", "whether Flux reverts a rollback"),
    *_rights(Feature.WATCH, "apps", "replicasets", "list watch", "the history that a rollback goes back to"),
    *_rights(Feature.WATCH, "apps", "controllerrevisions", "list watch", "the same for StatefulSets and DaemonSets"),
    *_rights(Feature.WATCH, "", "pods", "list watch", "health, restarts, and which image really runs"),
    *_rights(Feature.WATCH, "", "services", "list watch", "which workload an alert means, and every blue/green switch"),
    *_rights(Feature.WATCH, "", "configmaps", "list watch", "metadata only: when a ConfigMap changed"),
    *_rights(Feature.WATCH, "", "namespaces", "list watch", "metadata only: whether a namespace is paused"),
    *_rights(Feature.CHECK, "apps", "deployments", "get", "read again before a rollback, and after it"),
    *_rights(Feature.CHECK, "apps", "statefulsets", "get", "read again before a rollback, and after it"),
    *_rights(Feature.CHECK, "apps", "daemonsets", "get", "read again before a rollback, and after it"),
    *_rights(Feature.CHECK, "argoproj.io", "rollouts", "get", "read again before a rollback, and after it"),
    *_rights(Feature.CHECK, "", "services", "get", "a blue/green one, read again before a switch back, and after it"),
    *_rights(Feature.CHECK, "apps", "deployments", "list", "the colours of a blue/green Service, read again"),
    *_rights(Feature.CHECK, "apps", "replicasets", "get", "the target's template, read again"),
    *_rights(Feature.CHECK, "apps", "controllerrevisions", "get", "the target's template, read again"),
    *_rights(Feature.CHECK, "", "configmaps", "get", "metadata only: whether those that the target names are there"),
    *_rights(Feature.CHECK, "", "persistentvolumeclaims", "get", "metadata only: likewise"),
    *_rights(Feature.CHECK, "", "serviceaccounts", "get", "metadata only: likewise"),
    *_rights(Feature.SECRETS, "", "secrets", "get", "metadata only: whether those that the target names are there"),
    *_rights(Feature.ACT, "apps", "deployments", "patch", "the rollback, and its dry run"),
    *_rights(Feature.ACT, "apps", "statefulsets", "patch", "the rollback, and its dry run"),
    *_rights(Feature.ACT, "apps", "daemonsets", "patch", "the rollback, and its dry run"),
    *_rights(Feature.ACT, "argoproj.io", "rollouts", "patch", "the undo, the mark of an abort, and their dry runs"),
    *_rights(Feature.ACT, "argoproj.io", "rollouts/status", "patch", "the abort, and the full promotion of the undo"),
    *_rights(
        Feature.FREE, "", "pods", "delete", "one that is not ready and blocks a rollback; policy.delete_stuck_pods"
    ),
    *_rights(
        Feature.SWITCH,
        "",
        "services",
        "patch",
        "the selector of one with the annotation lastgood.dev/blue-green, and its dry run",
    ),
    *_rights(
        Feature.AROUND,
        "argoproj.io",
        "applications",
        "get patch",
        "auto-sync off with an end, and the rollback; policy.gitops",
    ),
    *_rights(
        Feature.AROUND,
        "kustomize.toolkit.fluxcd.io",
        "kustomizations",
        "get patch",
        "suspended with an end; policy.gitops",
    ),
    *_rights(
        Feature.AROUND, "helm.toolkit.fluxcd.io", "helmreleases", "get patch", "suspended with an end; policy.gitops"
    ),
    *_rights(Feature.LEAD, "coordination.k8s.io", "leases", "create", "the Lease, where there is none; lease.enabled"),
    *_rights(
        Feature.LEAD,
        "coordination.k8s.io",
        "leases",
        "get update",
        "who leads: this one Lease, by its name; lease.enabled",
    ),
    *_rights(Feature.ASK, "authorization.k8s.io", "selfsubjectaccessreviews", "create", "preflight and check-access"),
)
"""All of them. Whoever adds one adds it to the chart's roles too; a test names what is on one side only."""

_WORKLOADS = (
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("argoproj.io", "rollouts"),
    ("flagger.app", "canaries"),
    ("", "services"),
    ("", "pods"),
)
_WRITES = ("create", "update", "patch", "delete", "deletecollection")
_HELD = frozenset(right.triple for right in RIGHTS)

NEVER_NEEDED: tuple[tuple[str, str, str], ...] = tuple(
    triple
    for triple in (
        *((verb, group, resource) for group, resource in _WORKLOADS for verb in _WRITES),
        *((verb, "", "secrets") for verb in ("list", "watch")),
        ("create", "", "pods/exec"),
        ("impersonate", "", "serviceaccounts"),
        ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
        ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    )
    if triple not in _HELD
)
"""Verb, group and resource that `check-access` looks for because no mode needs them: each changes workloads, reads Secrets or
leads to more rights. What it cannot name it does not find: an audit of a whole role is `kubectl auth can-i --list`.
"""


def of(feature: Feature) -> tuple[Right, ...]:
    """The rights that a feature needs."""
    return tuple(right for right in RIGHTS if right.feature is feature)


def triples(*grants: Grant) -> frozenset[tuple[str, str, str]]:
    """Verb, group and resource of all that these give together."""
    return frozenset(right.triple for right in RIGHTS if right.grant in grants)
