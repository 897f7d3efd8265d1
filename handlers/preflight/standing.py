"""Parts 1 and 2: the daemon itself, and how the workload stands: owner, mode, pauses."""

from __future__ import annotations

from dataclasses import replace
from math import isinf

from daemon.core import owners
from daemon.core.mode import mode_of
from daemon.core.model import Mode, Owner, OwnerKind
from daemon.core.policy import GitOps, ModeRule
from daemon.core.protection import unprotected
from handlers.preflight.lines import Line, failed, ok, warning
from handlers.preflight.subject import Sources, Subject

WATCH_FRESH_SECONDS = 180.0
"""A watch that heard nothing for longer is blind: bookmarks come every minute. The alert about it has the same limit."""

FREE_BYTES_MIN = 64 * 2**20
"""Space below which the journal may soon be full: a large cluster writes some 10 MB a day."""


async def daemon(sources: Sources) -> list[Line]:
    """Is the daemon ready, can it keep what it decides, and does it see the cluster?"""
    return [_ready(sources), _journal(sources), _watch(sources)]


def _ready(sources: Sources) -> Line:
    why = sources.reader.ready
    if why is None:
        return ok("daemon ready", "ready")
    remedy = "the reason is the thing to repair; the daemon's log tells more (deploy/docs/runbook.md)"
    return failed("daemon ready", f"not ready: {why}", remedy, "lastgood status")


def _journal(sources: Sources) -> Line:
    """Nothing is written to find out: what could not be written last is the reason of `ready`."""
    try:
        free = sources.free_bytes()
    except OSError as error:
        why = f"the state folder cannot be read ({error.strerror})"
        return failed("journal", why, "mount it, and give it to the daemon's user")
    if free < FREE_BYTES_MIN:
        why = f"{free // 2**20} MB are free in the state folder; without space nothing is accepted and nothing done"
        return failed("journal", why, "free space, or enlarge the volume (persistence.size of the chart)")
    return ok("journal", f"writable, {free // 2**20} MB free")


def _watch(sources: Sources) -> Line:
    age = sources.watch_age()
    if age <= WATCH_FRESH_SECONDS:
        return ok("watch fresh", f"the oldest watch heard from the API server {age:.0f}s ago")
    heard = "never heard from the API server" if isinf(age) else f"heard nothing for {age:.0f}s"
    remedy = "look for `watch` in the daemon's log: rights, network, or the API server; see also the part access"
    return failed("watch fresh", f"a watch {heard}", remedy)


async def workload(subject: Subject) -> list[Line]:
    """Whose it is, in which mode and why, and what holds Lastgood back."""
    view = subject.tracked.view
    lines = [ok("known", f"{subject.workload.key}, runs {view.current.label}"), _owner(subject), _mode(subject)]
    lines.append(_pause(subject))
    if view.paused:
        lines.append(
            failed(
                "rollouts",
                "its rollouts are paused: a rollback would not proceed",
                "let them proceed",
                f"{subject.kubectl} rollout resume {subject.object}",
            )
        )
    if view.irreversible:
        why = "declared irreversible (annotation lastgood.dev/irreversible): its latest rollout is never rolled back"
        lines.append(warning("irreversible", why, "take the annotation away with the next release"))
    lines.append(_protected(subject))
    return lines


def unknown(name: str) -> list[Line]:
    """Nobody knows such a workload."""
    remedy = "write it as namespace/name or namespace/Kind/name; `lastgood status` lists the known ones"
    return [failed("known", f"{name[:80]!r} is not known to the daemon", remedy, "lastgood status")]


def _owner(subject: Subject) -> Line:
    owner = subject.tracked.view.owner
    if owner is None:
        return ok("owner", "people and pipelines only")
    if owner.kind is OwnerKind.HELM:
        follows = "it is rolled back; the drift is announced, with the command that follows it up"
        return ok("owner", f"Helm release {owner.name}: {follows}")
    note = f" ({subject.tracked.view.owner_note})" if subject.tracked.view.owner_note else ""
    if subject.tracked.view.owner_yields:
        follows = "it is rolled back; the drift is announced, with what makes it permanent"
        return ok("owner", f"{_named(owner)}{note}: {follows}")
    around = owners.way(subject.policy, subject.tracked.view)
    if around is not None:
        return ok("owner", f"{_named(owner)}{note}: {_AROUND[around]}, and it is rolled back (policy.gitops: {around})")
    says = f"{_named(owner)} owns it{note} and would put its own version back; Lastgood pages instead of rolling back"
    remedy = _undo(owner)
    if subject.mode is Mode.OBSERVE:
        return warning("owner", says, remedy)
    return failed("owner", says, f"{remedy}; set its mode to observe")


_AROUND = {
    GitOps.ARGOCD_ROLLBACK: "auto-sync is switched off with an end, its history is gone back",
    GitOps.FLUX_SUSPEND: "it is suspended with an end",
}


def _named(owner: Owner) -> str:
    names = {OwnerKind.ARGO_CD: "Argo CD application", OwnerKind.FLUX: "Flux", OwnerKind.OPERATOR: "an operator,"}
    return f"{names[owner.kind]} {owner.name}"


def _undo(owner: Owner) -> str:
    if owner.kind is OwnerKind.OPERATOR:
        return "roll back in the object that the operator reads"
    return "roll back where it is declared: revert the commit"


def _mode(subject: Subject) -> Line:
    view, mode = subject.tracked.view, subject.mode
    if view.mode_invalid is not None:
        says = f"observe, because the annotation lastgood.dev/mode is {view.mode_invalid!r}, which is no mode"
        take = f"{subject.kubectl} annotate {subject.object} lastgood.dev/mode-"
        return failed("mode", says, "write observe, approve or auto, or take the annotation away", take)
    because, granted = _rule(subject)
    if mode is not granted:
        because = f"{because} says {granted.value}, lowered by the annotation lastgood.dev/mode"
    meanings = {
        Mode.OBSERVE: "decides and announces, never acts, never pages",
        Mode.APPROVE: "proposes, a person confirms",
        Mode.AUTO: "acts after the countdown",
    }
    return ok("mode", f"{mode.value} ({because}): {meanings[mode]}")


def _rule(subject: Subject) -> tuple[str, Mode]:
    """The first rule of the policy that matches, and its mode."""
    bare = replace(subject.tracked, view=replace(subject.tracked.view, mode=None, mode_invalid=None))
    for index, rule in enumerate(subject.policy.modes):
        alone = replace(subject.policy, modes=(replace(rule, mode=Mode.AUTO),), default_mode=Mode.OBSERVE)
        if mode_of(alone, bare) is Mode.AUTO:
            return f"policy.modes[{index}]{_selects(rule)}", rule.mode
    return "policy.default_mode", subject.policy.default_mode


def _selects(rule: ModeRule) -> str:
    labels = tuple(f"{key}={value}" for key, value in rule.labels)
    parts = (("namespaces", rule.namespaces), ("names", rule.names), ("labels", labels))
    return "".join(f" {name} {','.join(values)}" for name, values in parts if values)


def _pause(subject: Subject) -> Line:
    paused = subject.state.paused_by(subject.workload, subject.now)
    if paused is None:
        return ok("pause", "nothing is paused here")
    if subject.tracked.view.namespace_paused and "annotated" in paused:
        command = f"kubectl annotate namespace {subject.workload.namespace} lastgood.dev/paused-"
    else:
        scope = "" if paused.startswith("everything") else paused.partition(" paused by ")[0]
        command = f"lastgood resume {scope}".rstrip()
    return failed("pause", paused, "end the pause when it has done its work", command)


def _protected(subject: Subject) -> Line:
    """As `status` and the metric `lastgood_unprotected_workloads` count it."""
    if subject.mode is Mode.OBSERVE:
        return ok("protected", "not armed: in mode observe nothing is rolled back")
    why = unprotected(subject.tracked, subject.state, subject.policy, subject.now)
    if why is None:
        return ok("protected", "a rollback would be possible now")
    return failed("protected", why.sentence, "see the line about it", f"lastgood verified {subject.workload.short}")
