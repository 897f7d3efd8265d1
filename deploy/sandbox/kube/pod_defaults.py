"""The defaults of a pod's spec (``pkg/apis/core/v1/defaults.go``), and what admission adds to a new pod."""

from __future__ import annotations

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.quantities import canonical

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_POINTERS = frozenset(
    (
        "affinity",
        "automountServiceAccountToken",
        "enableServiceLinks",
        "containers",
        "resources",
        "securityContext",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "terminationGracePeriodSeconds",
        "valueFrom",
    )
)
"""Fields in which empty or false says something else than nothing."""


def pod_spec(spec: Json) -> None:
    """Of a pod, or of a template: fills in what was left out, and leaves out what was given empty."""
    _without_empty(spec)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        if isinstance(container, dict):
            _container(container)
    for volume in spec.get("volumes") or []:
        if isinstance(volume, dict):
            _volume(volume)


def admitted(spec: Json) -> None:
    """What the admission plugins Priority and DefaultTolerationSeconds write into each new pod."""
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    known = {one.get("key") for one in tolerations if one.get("effect") in (None, "NoExecute")}
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if key not in known:
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


def quantities_of(resources: Json | None) -> None:
    """Spells the requests and limits as the server does."""
    for amounts in (resources or {}).values():
        if isinstance(amounts, dict):
            amounts.update({name: canonical(amount) for name, amount in amounts.items()})


def _without_empty(part: Json) -> None:
    """Go's ``omitempty``: an empty list, map, text or false is as good as nothing, except where there is a pointer."""
    for key in [key for key, value in part.items() if value in ([], {}, "", None) or value is False]:
        if key not in _POINTERS:
            del part[key]


def _volume(volume: Json) -> None:
    if volume.keys() == {"name"}:
        volume["emptyDir"] = {}
    for kind in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(volume.get(kind), dict):
            volume[kind].setdefault("defaultMode", 420)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    sources = (volume.get("projected") or {}).get("sources") or []
    for source in [volume, *sources]:
        for item in (source.get("downwardAPI") or {}).get("items") or []:
            _field_reference(item)
        if isinstance(source.get("serviceAccountToken"), dict):
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)


def _field_reference(part: Json) -> None:
    if isinstance(part.get("fieldRef"), dict):
        part["fieldRef"].setdefault("apiVersion", "v1")


def _container(container: Json) -> None:
    _without_empty(container)
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(str(container.get("image", ""))))
    quantities_of(container["resources"])
    for variable in container.get("env") or []:
        _without_empty(variable)
        _field_reference(variable.get("valueFrom") or {})
    for hook in (container.get("lifecycle") or {}).values():
        _http(hook)
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for name in _PROBES:
        if isinstance(container.get(name), dict):
            _probe(container[name])


def _pull_policy(image: str) -> str:
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return "Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent"


def _probe(probe: Json) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(field, value)
    _http(probe)


def _http(action: Json) -> None:
    if isinstance(action.get("httpGet"), dict):
        action["httpGet"].setdefault("path", "/")
        action["httpGet"].setdefault("scheme", "HTTP")
