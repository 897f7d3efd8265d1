"""Who may do what, by RBAC's own rules: the roles and bindings of one subject, read from their manifests.

Source: kubernetes.io/docs/reference/access-authn-authz/rbac and the rules' types (rbac.authorization.k8s.io/v1). Verbs, groups
and resources match letter by letter or by ``*``; ``resource/subresource`` and ``*/subresource`` are resources of their own;
``resourceNames`` never match a request without a name; a ClusterRole bound by a RoleBinding counts in that namespace only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deploy.sandbox.kube.errors import ApiError, Json
from deploy.sandbox.kube.faults import RequestRecord
from deploy.sandbox.kube.paths import parse

_REVIEWS = ("/apis/authorization.k8s.io/v1/", "/apis/authentication.k8s.io/v1/")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """Who asks."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        """The user name of its tokens."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    def is_in(self, binding: Json) -> bool:
        """Whether a binding names it: as account, as user, or by one of its groups."""
        groups = {"system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"}
        for subject in binding.get("subjects") or ():
            match subject["kind"]:
                case "ServiceAccount" if (subject["namespace"], subject["name"]) == (self.namespace, self.name):
                    return True
                case "User" if subject["name"] == self.user:
                    return True
                case "Group" if subject["name"] in groups:
                    return True
        return False


class Grants:
    """What a subject may do. ``allows`` fits ``ApiServer.allow``, ``check`` fits ``Faults.on_request``."""

    def __init__(self, objects: Iterable[Json], subject: ServiceAccount) -> None:
        self._subject = subject
        found = list(objects)
        roles = {
            (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each.get("rules") or []
            for each in found
            if each["kind"] in ("Role", "ClusterRole")
        }
        self._rules: list[tuple[str, Json]] = []
        """The namespace in which a rule counts ("": everywhere), and the rule."""
        for binding in found:
            if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding") or not subject.is_in(binding):
                continue
            where = binding["metadata"]["namespace"] if binding["kind"] == "RoleBinding" else ""
            role = binding["roleRef"]
            key = (role["kind"], where if role["kind"] == "Role" else "", role["name"])
            # A binding to a role that is not there is kept by the API server and grants nothing.
            self._rules += [(where, rule) for rule in roles.get(key, [])]

    def allows(self, asked: Json) -> bool:
        """The answer to ``resourceAttributes`` of a review; an empty namespace asks for all of them."""
        namespace = asked.get("namespace", "")
        return any(_covers(rule, asked) for where, rule in self._rules if where in ("", namespace))

    def check(self, record: RequestRecord) -> None:
        """What the authorizer does with a request: ApiError 403 unless it is allowed. Everybody may ask for reviews."""
        if record.path.startswith(_REVIEWS):
            return
        asked = attributes(record)
        if asked is not None and not self.allows(asked):
            raise _forbidden(self._subject.user, asked)


def attributes(record: RequestRecord) -> Json | None:
    """A request as the authorizer sees it; None for a path that names no resource (discovery, health)."""
    target = parse(record.path)
    if target is None:
        return None
    reading = "watch" if record.is_watch else "get" if target.name else "list"
    verb = _VERBS.get(record.method, reading)
    return {
        "verb": "deletecollection" if verb == "delete" and not target.name else verb,
        "group": target.resource.group,
        "resource": target.resource.plural,
        "subresource": target.subresource,
        "namespace": target.namespace,
        "name": target.name,
    }


def _covers(rule: Json, asked: Json) -> bool:
    resource, subresource = asked.get("resource", ""), asked.get("subresource", "")
    resources = {"*", f"{resource}/{subresource}", f"*/{subresource}"} if subresource else {"*", resource}
    names = rule.get("resourceNames") or []
    return (
        not {"*", asked.get("verb", "")}.isdisjoint(rule["verbs"])
        and not {"*", asked.get("group", "")}.isdisjoint(rule.get("apiGroups") or [])
        and not resources.isdisjoint(rule.get("resources") or [])
        and (not names or asked.get("name", "") in names)
    )


def _forbidden(user: str, asked: Json) -> ApiError:
    """In the real server's words: the daemon tells a missing right from an admission's refusal by them."""
    resource = "/".join(part for part in (asked["resource"], asked["subresource"]) if part)
    name = f' "{asked["name"]}"' if asked["name"] else ""
    where = f' in the namespace "{asked["namespace"]}"' if asked["namespace"] else " at the cluster scope"
    what = f"{asked['resource']}.{asked['group']}" if asked["group"] else asked["resource"]
    says = f'{what}{name} is forbidden: User "{user}" cannot {asked["verb"]} resource "{resource}" in API group '
    return ApiError(403, "Forbidden", f'{says}"{asked["group"]}"{where}')
