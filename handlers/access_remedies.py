"""What to do about a right that is missing, or is there without need: the chart's value first, then kubectl."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from handlers.rights import Grant, Right

IN_THE_POD = "kubectl -n lastgood exec deploy/lastgood -- lastgood check-access"
"""How the daemon's own rights are asked for (the names of the release in deploy/docs/install.md)."""

COMMANDS_NAMESPACES_MAX = 5
"""Namespaces for which a pair of commands is printed; the chart's value has them all."""

_SERVICE_ACCOUNT = "system:serviceaccount:"


def missing(right: Right, namespaces: Sequence[str]) -> str:
    """How the chart gives it."""
    given = _given(right, namespaces)
    return (
        given
        if right.tool is None or not right.optional
        else f"fine where {right.tool} is not installed; where it is, {given}"
    )


def _given(right: Right, namespaces: Sequence[str]) -> str:
    match right.grant:
        case Grant.SECRETS:
            return "fine: a page names a target's Secrets as unchecked; to have them checked, set rbac.secretsMetadata=true"
        case Grant.ACT:
            where = _beside(namespaces)
            return f"set rbac.mode=act{where} (helm upgrade; without Helm: deploy/kubernetes/act), or grant it by hand"
        case Grant.PODS:
            where = _beside(namespaces)
            return f"policy.delete_stuck_pods asks for it: set rbac.deletePods=true{where} (helm upgrade), or grant it by hand"
        case Grant.GITOPS:
            return (
                f"policy.gitops asks for it ({right.way}): set rbac.gitops=true (helm upgrade), or grant it by hand where these "
                f"objects are"
            )
        case Grant.LEASE:
            return (
                "lease.enabled asks for it: with rbac.create=true the chart gives it for config.lease.name and "
                "config.lease.namespace (helm upgrade), or grant it by hand"
            )
        case Grant.SERVICES:
            return "fine where no Service is annotated as blue/green; where one is, set rbac.switchServices=true"
        case _:
            return (
                "install the chart's read role (rbac.create=true; without Helm: deploy/kubernetes), or grant it by hand"
            )


def _beside(namespaces: Sequence[str]) -> str:
    return f", rbac.namespaces={{{','.join(namespaces)}}} beside those it has" if namespaces else ""


def grant(
    right: Right, verbs: Sequence[str], namespaces: Sequence[str], asked_as: str | None, name: str = ""
) -> tuple[str, ...]:
    """Commands that grant it to the user who asked; in the whole cluster where no namespace is named, for one object where
    its `name` is.
    """
    role, to = f"lastgood-{right.feature.name.lower()}-{right.resource.replace('/', '-')}", _subject(asked_as)
    holds = f"--verb={','.join(verbs)} --resource={right.qualified}"
    if name:  # a role of its own, beside that of verbs which no name narrows
        role, holds = f"{role}-{name}", f"{holds} --resource-name={name}"
    if not namespaces:
        return (
            f"kubectl create clusterrole {role} {holds}",
            f"kubectl create clusterrolebinding {role} --clusterrole={role} {to}",
        )
    return tuple(
        command
        for name in namespaces[:COMMANDS_NAMESPACES_MAX]
        for command in (
            f"kubectl -n {name} create role {role} {holds}",
            f"kubectl -n {name} create rolebinding {role} --role={role} {to}",
        )
    )


def acting_unneeded(right: Right, needed: Sequence[str]) -> str:
    """A right to act where the policy arms nothing that needs it."""
    if needed:
        return f"narrow it to what the policy arms: rbac.namespaces={{{','.join(needed)}}}"
    if right.grant is Grant.PODS:
        return "only policy.delete_stuck_pods needs it, where something is armed: rbac.deletePods=false takes it away"
    if right.grant is Grant.SERVICES:
        return "only an armed blue/green Service needs it: rbac.switchServices=false takes it away"
    if right.grant is Grant.GITOPS:
        return f"only {right.way} in policy.gitops needs it, where something is armed: rbac.gitops=false takes it away"
    return "the policy arms nothing: rbac.mode=observe takes it away, until you arm a workload"


def administrator() -> str:
    """A credential that may do everything."""
    return "run Lastgood under the chart's ServiceAccount, not under an administrator's credential"


def unneeded(asked_as: str | None) -> str:
    """A right that no mode needs."""
    who = shlex.quote((asked_as or "ACCOUNT").rpartition(":")[2])
    find = f"kubectl get clusterrolebindings,rolebindings -A -o wide | grep -w {who}"
    return f"no role of the chart holds it; find the binding that gives it, and take it away: {find}"


def _subject(asked_as: str | None) -> str:
    """The user as `kubectl create rolebinding` names it."""
    if asked_as is None:
        return "--serviceaccount=NAMESPACE:ACCOUNT"
    if asked_as.startswith(_SERVICE_ACCOUNT):
        return f"--serviceaccount={shlex.quote(asked_as.removeprefix(_SERVICE_ACCOUNT))}"
    return f"--user={shlex.quote(asked_as)}"
