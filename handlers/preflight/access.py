"""Part 8: what our role lets us do, asked of the API server itself, right by right. The list is `handlers.rights`."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.core.model import Mode
from handlers.access_reviews import Question, allowed, question
from handlers.preflight.lines import Line, failed, ok, warning
from handlers.preflight.subject import Sources, Subject
from handlers.rights import Feature, of


async def access(sources: Sources, subject: Subject) -> list[Line]:
    """The rights that watching, checking and acting need. Raises Transient or Permanent where nothing can be asked."""
    namespace = subject.workload.namespace
    watched = [question(right) for right in of(Feature.WATCH)]
    checked = [question(right, namespace) for right in of(Feature.CHECK)]
    acting = [question(right, namespace) for right in of(Feature.ACT)]
    secrets = [question(right, namespace) for right in of(Feature.SECRETS)]
    held = await allowed(sources.rights, [*watched, *checked, *acting, *secrets])
    return [
        _reading(Feature.WATCH, watched, held, "nothing is seen without it"),
        _reading(Feature.CHECK, checked, held, "a target that cannot be checked is not rolled back to"),
        *(_acting(subject, each, held) for each in acting),
        ok("list secrets", "allowed")
        if held.issuperset(secrets)
        else ok(
            "list secrets", "may not; the Secrets that a target names stay unchecked (opt-in: rbac.secretsMetadata)"
        ),
    ]


def _reading(feature: Feature, needed: Sequence[Question], held: frozenset[Question], otherwise: str) -> Line:
    missing = [each for each in needed if each not in held]
    if not missing:
        return ok(feature.value, f"all of {len(needed)} rights are there")
    says = f"our role may not {', '.join(f'{each.verb} {each.resource}' for each in missing)}: {otherwise}"
    remedy = "install the chart's role (rbac.create=true; without Helm: deploy/kubernetes), or add these verbs to yours"
    return failed(feature.value, says, remedy, missing[0].command)


def _acting(subject: Subject, needed: Question, held: frozenset[Question]) -> Line:
    check, namespace = f"{needed.verb} {needed.resource}", subject.workload.namespace
    observed = subject.mode is Mode.OBSERVE
    if needed in held:
        return ok(check, f"allowed in {namespace}" + (" (not needed in mode observe)" if observed else ""))
    remedy = f"install with rbac.mode=act, and {namespace} in rbac.namespaces where you name them"
    if observed:
        return warning(check, f"may not in {namespace}: fine in mode observe", f"before you arm it: {remedy}")
    return failed(check, f"may not in {namespace}: a rollback would be refused", remedy, needed.command)
