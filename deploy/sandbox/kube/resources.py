"""The table of kinds this API server knows. A kind that is not here is 404, as on a cluster without its CRD."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind and where it is served.

    ``status``: it has a status subresource. ``generation``: ``metadata.generation`` counts its spec changes (pods' from
    1.33 on). ``graceful``: deletion waits for the kubelet. ``put_creates``: a PUT to a name that is free
    makes the object (``AllowCreateOnUpdate``). ``custom``: served once it is defined (``SandboxCluster.define``), as by a
    CustomResourceDefinition; nothing here works on its objects.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    status: bool = False
    scale: bool = False
    generation: bool = False
    graceful: bool = False
    put_creates: bool = False
    custom: bool = False

    @property
    def api_version(self) -> str:
        """``v1`` or ``group/version``, as in ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The name that kubectl takes for one of them."""
        return self.kind.lower()


APPS = "apps"

RESOURCES: tuple[Resource, ...] = (
    Resource(
        group="", version="v1", kind="Pod", plural="pods", short=("po",), status=True, graceful=True, generation=True
    ),
    Resource(group="", version="v1", kind="Service", plural="services", short=("svc",), status=True, put_creates=True),
    Resource(group="", version="v1", kind="ConfigMap", plural="configmaps", short=("cm",)),
    Resource(group="", version="v1", kind="Secret", plural="secrets"),
    Resource(group="", version="v1", kind="ServiceAccount", plural="serviceaccounts", short=("sa",)),
    Resource(
        group="",
        version="v1",
        kind="PersistentVolumeClaim",
        plural="persistentvolumeclaims",
        short=("pvc",),
        status=True,
    ),
    Resource(
        group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, short=("ns",), status=True
    ),
    Resource(group="", version="v1", kind="Node", plural="nodes", namespaced=False, short=("no",), status=True),
    Resource(group="", version="v1", kind="Event", plural="events", short=("ev",), put_creates=True),
    Resource(group="", version="v1", kind="Endpoints", plural="endpoints", short=("ep",), put_creates=True),
    Resource(
        group=APPS,
        version="v1",
        kind="Deployment",
        plural="deployments",
        short=("deploy",),
        status=True,
        scale=True,
        generation=True,
    ),
    Resource(
        group=APPS,
        version="v1",
        kind="ReplicaSet",
        plural="replicasets",
        short=("rs",),
        status=True,
        scale=True,
        generation=True,
    ),
    Resource(
        group=APPS,
        version="v1",
        kind="StatefulSet",
        plural="statefulsets",
        short=("sts",),
        status=True,
        scale=True,
        generation=True,
    ),
    Resource(
        group=APPS, version="v1", kind="DaemonSet", plural="daemonsets", short=("ds",), status=True, generation=True
    ),
    Resource(group=APPS, version="v1", kind="ControllerRevision", plural="controllerrevisions"),
    Resource(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", put_creates=True),
    Resource(
        group="argoproj.io",
        version="v1alpha1",
        kind="Rollout",
        plural="rollouts",
        short=("ro",),
        status=True,
        generation=True,
        custom=True,
    ),
    Resource(
        group="flagger.app",
        version="v1beta1",
        kind="Canary",
        plural="canaries",
        status=True,
        generation=True,
        custom=True,
    ),
    Resource(
        group="argoproj.io",
        version="v1alpha1",
        kind="Application",
        plural="applications",
        generation=True,
        custom=True,
    ),
    Resource(
        group="kustomize.toolkit.fluxcd.io",
        version="v1",
        kind="Kustomization",
        plural="kustomizations",
        status=True,
        generation=True,
        custom=True,
    ),
    Resource(
        group="helm.toolkit.fluxcd.io",
        version="v2",
        kind="HelmRelease",
        plural="helmreleases",
        status=True,
        generation=True,
        custom=True,
    ),
)

_BY_PLACE = {(r.group, r.version, r.plural): r for r in RESOURCES}
_BY_KIND = {(r.api_version, r.kind): r for r in RESOURCES}


def by_place(group: str, version: str, plural: str) -> Resource | None:
    """The resource served at a path's group, version and plural, or None."""
    return _BY_PLACE.get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource that an object's ``apiVersion`` and ``kind`` name, or None."""
    return _BY_KIND.get((api_version, kind))


def named(api_version: str, plural: str) -> Resource:
    """The resource of ``("apps/v1", "deployments")``; KeyError when there is none."""
    group, _, version = api_version.rpartition("/")
    return _BY_PLACE[(group, version, plural)]


PODS = named("v1", "pods")
NODES = named("v1", "nodes")
NAMESPACES = named("v1", "namespaces")
CLAIMS = named("v1", "persistentvolumeclaims")
DEPLOYMENTS = named("apps/v1", "deployments")
REPLICASETS = named("apps/v1", "replicasets")
STATEFULSETS = named("apps/v1", "statefulsets")
DAEMONSETS = named("apps/v1", "daemonsets")
CONTROLLER_REVISIONS = named("apps/v1", "controllerrevisions")
