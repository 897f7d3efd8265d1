"""What a person reads before asking for a rollback is what would be decided."""

from __future__ import annotations

from typing import Any

from daemon.core.events import Declared
from daemon.core.incidents import Ask
from daemon.core.model import DeclaredCause, Mode, Owner, OwnerKind
from daemon.core.preview import Preview, preview
from daemon.core.reasons import Reason
from tests.core.builders import MINUTE, SHOP, V1, V2, a_check, a_policy
from tests.core.story import Story


def previewed(story: Story, *, checked: bool = True, **changes: Any) -> Preview:
    ask = Ask(**({"actor": "ann", "current": V2.id, "target": V1.id} | changes))
    tracked = story.state.workloads[SHOP.key]
    check = a_check(V1) if checked else None
    return preview(tracked, ask, check, state=story.state, policy=story.policy, now=story.now)


def out(**changes: Any) -> Story:
    """v2 has been out for five minutes."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.proves_v1()
    story.rolls_out()
    story.completes(**changes)
    story.now += 5 * MINUTE
    return story


def reasons(found: Preview) -> tuple[set[Reason], set[Reason]]:
    return {r.reason for r in found.standing}, {r.reason for r in found.answered}


def test_nothing_in_the_way_names_the_proof() -> None:
    """A proven target: no refusal, and what is about blame alone is not shown."""
    found = previewed(out())
    assert reasons(found) == (set(), set())
    assert found.target is not None
    assert found.target.revision == V1


def test_what_the_person_takes_upon_themselves_is_shown() -> None:
    """An overridden refusal, and one that only asks for a person's word."""
    story = out(owner=Owner(kind=OwnerKind.FLUX, name="shop"))
    story.asks()
    assert reasons(previewed(story)) == ({Reason.OWNED_BY_GITOPS}, set())
    found = previewed(story, overrides=(Reason.OWNED_BY_GITOPS,))
    assert reasons(found) == (set(), {Reason.OWNED_BY_GITOPS})


def test_an_unproven_target_stands_with_its_reason() -> None:
    """Who asks for the wrong revision learns what is missing."""
    story = Story(a_policy())
    story.soaks = lambda action: None
    story.starts()
    story.rolls_out()
    found = previewed(story)
    assert Reason.TARGET_NOT_VERIFIED in reasons(found)[0]
    assert found.target is None
    assert found.rejected


def test_the_preview_agrees_with_the_decision() -> None:
    """What stands in the preview refuses the order, with the same reason."""
    story = out()
    story.pauses()
    standing, _ = reasons(previewed(story))
    story.asks()
    assert story.incident.reason in standing


def test_an_unchecked_target_is_no_answer_yet() -> None:
    """Without the check the refusal waits: neither forbidden nor confirmed."""
    assert reasons(previewed(out(), checked=False)) == (set(), set())


def test_what_others_declared_of_data_is_shown() -> None:
    """Somebody said that data is at risk: who rolls back by hand reads it before, and takes it upon themselves."""
    story = out()
    story.plays(
        Declared(at=story.now, workload=SHOP.key, cause=DeclaredCause.DATA_CORRUPTION, onset=story.now, actor="bob")
    )
    assert reasons(previewed(story)) == (set(), {Reason.DATA_AT_RISK})
