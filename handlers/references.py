"""What a pod template needs from its namespace: ConfigMaps, Secrets, claims, a service account. Pure, over raw JSON.

A revision whose ConfigMap was deleted cannot start any more, however good it was. Left out on purpose: image pull
secrets (the kubelet starts pods without them), keys inside a ConfigMap (its data is none of our business).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from handlers.revisions import Json

DEFAULT_SERVICE_ACCOUNT = "default"


class RefKind(StrEnum):
    """The kinds of objects a template may name; the values are what people read."""

    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"  # noqa: S105 - the name of a kind
    CLAIM = "PersistentVolumeClaim"
    SERVICE_ACCOUNT = "ServiceAccount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An object named by the template. `optional`: pods start without it."""

    kind: RefKind
    name: str
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def references_of(template: Json) -> tuple[Reference, ...]:
    """Every object the template names, each once, sorted; required where any mention requires it."""
    spec = template.get("spec") or {}
    found: dict[tuple[RefKind, str], bool] = {}
    for reference in _all(spec):
        key = (reference.kind, reference.name)
        found[key] = found.get(key, True) and reference.optional
    return tuple(Reference(kind=kind, name=name, optional=found[kind, name]) for kind, name in sorted(found))


def _all(spec: Json) -> Iterator[Reference]:
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT_SERVICE_ACCOUNT
    yield Reference(kind=RefKind.SERVICE_ACCOUNT, name=name)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        yield from _of_container(container)
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume)


def _of_container(container: Json) -> Iterator[Reference]:
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield from _named(RefKind.CONFIG_MAP, source.get("configMapKeyRef"))
        yield from _named(RefKind.SECRET, source.get("secretKeyRef"))
    for source in container.get("envFrom") or ():
        yield from _named(RefKind.CONFIG_MAP, source.get("configMapRef"))
        yield from _named(RefKind.SECRET, source.get("secretRef"))


def _of_volume(volume: Json) -> Iterator[Reference]:
    yield from _named(RefKind.CONFIG_MAP, volume.get("configMap"))
    yield from _named(RefKind.SECRET, volume.get("secret"), field="secretName")
    yield from _named(RefKind.CLAIM, volume.get("persistentVolumeClaim"), field="claimName")
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield from _named(RefKind.CONFIG_MAP, source.get("configMap"))
        yield from _named(RefKind.SECRET, source.get("secret"))


def _named(kind: RefKind, source: Json | None, *, field: str = "name") -> Iterator[Reference]:
    if source and source.get(field):
        yield Reference(kind=kind, name=source[field], optional=bool(source.get("optional")))
