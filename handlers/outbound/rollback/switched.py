"""What is left to follow up after a blue/green Service was switched back: who would switch it forward again."""

from __future__ import annotations

from handlers.kinds import service
from handlers.kube_json import Obj
from handlers.ownership import helm_release
from handlers.revisions import FIELD_MANAGER

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def switch_warnings(obj: Obj) -> tuple[str, ...]:
    """One sentence for those whose own copy of the selector still holds the bad colour; none where nobody has one."""
    metadata, label = obj["metadata"], service.label_of(obj)
    who = sorted({str(entry.get("manager")) for entry in metadata.get("managedFields") or () if _applied(entry)})
    release = helm_release(obj)
    if release is not None:
        who = [f"release {release.rpartition('/')[2]} of Helm", *(each for each in who if each != "helm")]
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        who.append("kubectl apply")
    if not who:
        return ()
    value = service.selector_of(obj).get(label or "")
    warning = (
        f"The selector is not only here: {', '.join(who)} wrote it, and with the same values will switch to the bad colour "
        f"again. Put {label}: {value} there too."
    )
    return (warning,)


def _applied(entry: Obj) -> bool:
    owned = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    return entry.get("operation") == "Apply" and "f:selector" in owned and entry.get("manager") != FIELD_MANAGER
