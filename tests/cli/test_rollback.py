"""`lastgood rollback`: what is shown, what is asked, what is refused, and that it is watched to its end."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from daemon.cli.exits import Exit
from daemon.cli.rollback import show
from daemon.cli.terminal import Screen
from daemon.core.actions import Checked, CheckTarget, Outcome, OutcomeKind
from daemon.core.events import Command, RollbackAsked
from daemon.core.facts import Fact
from daemon.core.model import Mode, Owner, OwnerKind, Revision, RevisionId, Workload
from daemon.core.reasons import Reason
from handlers import revisions
from handlers.answers import Actor
from handlers.faults import FaultKind, Transient
from handlers.following import Following
from handlers.inbound.rollbacks import Rollbacks
from handlers.workload_objects import Fresh
from tests.cli.desk import Desk, one_line
from tests.core.builders import MINUTE, SHOP, a_check, a_policy, a_recovery, a_revision, a_view
from tests.core.story import Story
from tests.handlers.kube_objects import deployment, replica_set
from tests.handlers.people import Daemon, listening

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)


def secretly(obj: dict[str, Any], word: str) -> dict[str, Any]:
    """The object with a plain secret and a colour in its environment."""
    container = obj["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "DB_PASSWORD", "value": word}, {"name": "COLOUR", "value": f"of {word}"}]
    return obj


OLD, NEW = (
    secretly(replica_set(f"shop:{tag}", number=number, suffix=3 * suffix), f"word-{tag}")
    for number, (tag, suffix) in enumerate((("v1", "a"), ("v2", "b")), 1)
)
LIVE = secretly(deployment("shop:v2"), "word-v2")


def known(number: int, obj: dict[str, Any]) -> Revision:
    found = revisions.revision_of(obj)
    return a_revision(number, id=found.id, content=found.content, images=found.images, replica_set=found.replica_set)


V1, V2 = known(1, OLD), known(2, NEW)


class RollbackDaemon(Daemon):
    """Also answers for rollbacks; one that is ordered recovers at once. `out` is why the cluster cannot be asked."""

    out: Transient | None = None

    async def command(self, event: Command) -> Sequence[Fact]:
        facts = await super().command(event)
        if isinstance(event, RollbackAsked) and self.story.rollbacks:
            self.recovers()
        return facts

    def recovers(self) -> None:
        """The cluster runs v1 again, and everything measures well."""
        story, now = self.story, self.story.now
        story.measures = lambda action: a_recovery(story.now)
        back = {"uid": "uid-1", "generation": 100, "started_at": now, "available_since": now, "history": (V1, V2)}
        story.sees(a_view(V1, action_id=story.incident.roll_back, **back))
        story.waits(5 * MINUTE)

    async def look(self, workload: Workload) -> Fresh | None:
        assert workload == SHOP
        if self.out is not None:
            raise self.out
        return Fresh(workload=LIVE, history=(OLD, NEW))

    async def check(self, action: CheckTarget) -> Outcome:
        return Outcome(kind=OutcomeKind.DONE, result=Checked(check=a_check(action.target)))

    def routes(self, actor: Actor) -> Sequence[web.AbstractRouteDef]:
        rollbacks = Rollbacks(
            reader=self,
            policy=lambda: self.story.policy,
            clock=self,
            actor=actor,
            check=self.check,
            look=self.look,
            follow=Following(self, self, lambda: self.story.policy).follow,
        )
        return [*super().routes(actor), *rollbacks.routes()]


def out(**changes: Any) -> Story:
    """v2 has been out for five minutes, nothing fires."""
    story = Story(policy=a_policy(default_mode=Mode.APPROVE))
    story.starts()
    story.sees(a_view(V1, history=(V1,)))
    story.waits(0 * MINUTE)
    story.rolls_out(V2, V1, history=(V1, V2))
    story.completes(V2, **changes)
    story.now += 5 * MINUTE
    return story


@pytest.fixture
async def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    daemon = RollbackDaemon(out())
    async with listening(daemon, tmp_path / "lastgood.sock") as address:
        yield Desk(daemon, address, tmp_path / "lastgood.sock", capsys)


async def test_shown_asked_done_and_watched(desk: Desk) -> None:
    """The diff and the proof, then the steps until it recovered: exit code 0; the order names what was shown."""
    typed = await desk.types("rollback", "shop/checkout", "--yes", "--note", "bad copy", "--as", "ann")
    assert (typed.code, typed.err) == (Exit.OK, "")
    assert "shop:v2" in typed.out.splitlines()[0]
    assert re.search(r"^ *- +image: shop:v2", typed.out, re.MULTILINE)
    assert "healthy under traffic as the only serving revision" in typed.out
    assert typed.out.strip().splitlines()[-1].endswith("recovered. The symptom is gone and stayed away.")
    (ordered,) = [event for event in desk.daemon.taken if isinstance(event, RollbackAsked)]
    assert (ordered.current, ordered.target, ordered.note) == (V2.id, V1.id, "bad copy")
    assert "says 'ann'" in ordered.actor


async def test_a_secret_in_the_template_is_not_shown(desk: Desk) -> None:
    """That it changes can be seen, what it is cannot; other values can."""
    typed = await desk.types("rollback", "shop/checkout", "--yes")
    assert "of word-v1" in typed.out
    assert "value: word-v1" not in typed.out
    assert typed.out.count("not shown") == 2


async def test_without_a_terminal_nobody_can_be_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens without --yes where no person sits, nor where the person says no; with a yes it does."""
    typed = await desk.types("rollback", "shop/checkout")
    assert typed.code == Exit.USAGE
    assert "--yes" in one_line(typed.err)
    for answer, code in (("", Exit.REFUSED), ("n", Exit.REFUSED), ("yes", Exit.OK)):
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda _question, answer=answer: answer)
        assert (await desk.types("rollback", "shop/checkout")).code == code
    assert len(desk.daemon.taken) == 1


@pytest.mark.parametrize("to", ["1", "v1", "shop:v1", "previous", V1.id[:8]])
async def test_the_target_by_any_of_its_names(desk: Desk, to: str) -> None:
    """A number, a tag, a hash, or what was replaced."""
    assert (await desk.types("rollback", "shop/checkout", "--to", to, "--yes")).code == Exit.OK


async def test_what_stands_is_told_with_its_way_out(desk: Desk) -> None:
    """An overridable refusal names the override, which is then shown and followed; another one says what to do."""
    desk.daemon.story = out(owner=Owner(kind=OwnerKind.ARGO_CD, name="shop"))
    typed = await desk.types("rollback", "shop/checkout", "--yes")
    assert typed.code == Exit.REFUSED
    assert "add --override OWNED_BY_GITOPS" in one_line(typed.err)
    typed = await desk.types("rollback", "shop/checkout", "--yes", "--override", "OWNED_BY_GITOPS")
    assert typed.code == Exit.OK
    assert "you take upon you OWNED_BY_GITOPS" in typed.out
    desk.daemon.story = out()
    desk.daemon.story.pauses()
    typed = await desk.types("rollback", "shop/checkout", "--yes", "--override", "PAUSED")
    assert (typed.code, "lastgood resume" in one_line(typed.err)) == (Exit.REFUSED, True)


async def test_a_refusal_after_the_question_is_an_answer(desk: Desk) -> None:
    """Between question and order a newer rollout came: refused with the reason, nothing patched."""
    asked = desk.daemon.state.workloads[SHOP.key]
    assert asked.view.current == V2
    body = {"workload": "shop/checkout", "current": V1.id, "target": V2.id}
    connector = aiohttp.UnixConnector(str(desk.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post("http://lastgood/api/v1/rollback", json=body) as response,
    ):
        assert response.status == 409
        assert "not what was shown" in (await response.json())["error"]
    assert desk.daemon.story.rollbacks == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("shop/nothing",), Exit.REFUSED, "no workload"),
        (("shop/checkout", "--to", "v9"), Exit.REFUSED, "lastgood history"),
        (("shop/checkout", "--override", "BECAUSE"), Exit.USAGE, "is no reason"),
    ],
)
async def test_nonsense_is_one_line_with_a_remedy(desk: Desk, words: Sequence[str], code: Exit, said: str) -> None:
    """What is not known is named, and nothing is ordered."""
    typed = await desk.types("rollback", *words, "--yes")
    assert (typed.code, said in typed.err) == (code, True)
    assert desk.daemon.taken == []


async def test_a_cluster_that_cannot_be_asked_is_said(desk: Desk) -> None:
    """Nothing is guessed: exit code 3, and the remedy."""
    assert isinstance(desk.daemon, RollbackDaemon)
    desk.daemon.out = Transient(None, "connection refused", FaultKind.NETWORK)
    typed = await desk.types("rollback", "shop/checkout", "--yes")
    assert (typed.code, "cannot be asked now" in one_line(typed.err)) == (Exit.UNREACHABLE, True)


async def test_an_end_that_is_no_recovery_is_exit_code_1(desk: Desk) -> None:
    """A rollback that was refused or handed over is told, and scripts can tell."""
    desk.daemon.story.checks = lambda action: replace(a_check(action.target), exists=False)
    typed = await desk.types("rollback", "shop/checkout", "--yes")
    assert typed.code == Exit.REFUSED
    assert Reason.TARGET_GONE.sentence in " ".join(typed.out.split())


async def test_several_revisions_of_one_name_are_listed(desk: Desk) -> None:
    """A tag that was built twice is no name."""
    twin = replace(V1, id=RevisionId(V1.id[::-1]), number=3)
    desk.daemon.story.completes(V2, history=(V1, V2, twin))
    typed = await desk.types("rollback", "shop/checkout", "--to", "v1", "--yes")
    assert (typed.code, "may be any of 3: " in one_line(typed.err)) == (Exit.REFUSED, True)


async def test_bad_fields_are_named(desk: Desk) -> None:
    """The route says which field is wrong."""
    connector = aiohttp.UnixConnector(str(desk.socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        good = {"workload": "shop/checkout", "current": V2.id, "target": V1.id}
        for change, field in (({"overrides": "all"}, "overrides"), ({"target": 7}, "target"), ({"too": 1}, "too")):
            async with session.post("http://lastgood/api/v1/rollback", json=good | change) as response:
                assert (response.status, field in (await response.json())["error"]) == (400, True)


def test_a_diff_cannot_turn_the_screen_round() -> None:
    """Every line keeps its indentation, and none its direction marks: also one that does not change."""
    lines = ["@@ -1,2 +1,2 @@", "     command: \u202egood\x1b[2J", "-    image: shop:v2", "+    image: shop:v1\u2066"]
    found = {
        "workload": "shop/Deployment/web",
        "current": {"label": "v2", "number": 2},
        "target": {"label": "v1", "number": 1},
        "diff": lines,
        "proof": None,
        "answered": [],
        "unchecked": [],
    }
    out = io.StringIO()
    show(found, Screen(out))
    assert not {"\u202e", "\u2066", "\x1b"} & set(out.getvalue())
    assert "       command: " in out.getvalue()
    assert "  -    image: shop:v2\n" in out.getvalue()
