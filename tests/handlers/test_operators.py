"""What people may ask and command over HTTP: who they are, what is refused, and what each command leads to."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.core.events import Closed, PauseAsked, ReleaseAsked
from daemon.core.facts import Fact
from daemon.core.incidents import Phase
from daemon.core.model import Mode, Rung
from daemon.ports import InboxFullError, JournalUnavailableError, StandbyError
from tests.core.builders import MINUTE, SHOP, V2, a_location, a_policy, an_alert
from tests.core.story import Story
from tests.handlers.people import TOKEN, WEBHOOK_TOKEN, Daemon, listening, recovered

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Desk:
    """Both doors of one daemon."""

    daemon: Daemon
    address: str
    socket: Path

    async def ask(self, name: str, **query: str) -> tuple[int, dict[str, Any]]:
        return await self._send("GET", name, params=query)

    async def order(self, name: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        return await self._send("POST", name, json=fields)

    async def raw(self, name: str, body: bytes) -> tuple[int, dict[str, Any]]:
        return await self._send("POST", name, data=body)

    async def _send(self, method: str, name: str, **how: Any) -> tuple[int, dict[str, Any]]:
        connector = aiohttp.UnixConnector(str(self.socket))
        async with aiohttp.ClientSession(connector=connector) as session:
            return await answer(session, method, f"http://lastgood/api/v1/{name}", **how)

    async def over_network(
        self, method: str, name: str, headers: dict[str, str], **how: Any
    ) -> tuple[int, dict[str, Any]]:
        async with aiohttp.ClientSession(headers=headers) as session:
            return await answer(session, method, f"{self.address}/api/v1/{name}", **how)

    @property
    def incident(self) -> str:
        return self.daemon.story.incident.id


async def answer(session: aiohttp.ClientSession, method: str, url: str, **how: Any) -> tuple[int, dict[str, Any]]:
    async with session.request(method, url, **how) as response:
        return response.status, await response.json()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A daemon in mode approve with a proposal that waits for a person."""
    story = Story(policy=a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    story.expect(Phase.PROPOSED)
    daemon = Daemon(story)
    async with listening(daemon, tmp_path / "lastgood.sock") as address:
        yield Desk(daemon, address, tmp_path / "lastgood.sock")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer forged"},
        {"Authorization": f"Bearer {WEBHOOK_TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
    ],
)
@pytest.mark.parametrize(("method", "name"), [("GET", "status"), ("POST", "approve"), ("GET", "explain")])
async def test_who_has_no_operators_token_learns_and_moves_nothing(
    desk: Desk, headers: dict[str, str], method: str, name: str
) -> None:
    """No, forged and webhook credentials get 401 with a remedy, before anything of the request is read."""
    status, found = await desk.over_network(method, name, headers)
    assert (status, set(found)) == (401, {"error", "remedy"})
    assert desk.daemon.taken == []


async def test_a_token_names_its_actor(desk: Desk) -> None:
    """What is journalled is the name of the token, whatever name the client sends beside it."""
    how = {"json": {"incident": desk.incident, "name": "root"}}
    status, found = await desk.over_network("POST", "approve", BEARER, **how)
    assert (status, found["actor"]) == (200, "token:ann (says 'root')")
    assert desk.daemon.taken[0].actor == "token:ann (says 'root')"


async def test_the_socket_names_its_user(desk: Desk) -> None:
    """Through the socket the actor is the user at the other end, as the kernel says."""
    status, found = await desk.order("decline", incident=desk.incident)
    assert (status, found["actor"]) == (200, f"unix:{getpass.getuser()}")
    assert desk.daemon.story.incident.ended_by == found["actor"]
    assert desk.daemon.story.incident.phase is Phase.ESCALATED


async def test_the_socket_of_a_network_connection_vouches_for_nobody(tmp_path: Path) -> None:
    """Mounted on a network address by mistake, the socket's way of telling who somebody is lets nobody in."""
    from handlers.inbound.operators import unix_actor
    from handlers.server import HttpServer, ServerLimits, build_app

    daemon, server = Daemon(recovered()), HttpServer(ServerLimits())
    app = build_app(routes=daemon.routes(unix_actor), limits=ServerLimits())
    host, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
    try:
        async with aiohttp.ClientSession() as session:
            assert (await answer(session, "GET", f"http://{host}:{port}/api/v1/status"))[0] == 401
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("approve", b"nonsense", "body"),
        ("approve", b"[1]", "body"),
        ("approve", b"{}", "incident"),
        ("approve", b'{"incident": 7}', "incident"),
        ("approve", b'{"incident": ""}', "incident"),
        ("approve", json.dumps({"incident": "i" * 65}).encode(), "incident"),
        ("approve", b'{"incident": "i", "force": true}', "force"),
        ("approve", b'{"incident": "i", "name": 7}', "name"),
        ("decline", b'{"incident": null}', "incident"),
        ("close", json.dumps({"incident": "i", "note": "n" * 501}).encode(), "note"),
        ("pause", b'{"scope": "Shop"}', "scope"),
        ("pause", b'{"scope": "a/b/c"}', "scope"),
        ("pause", b'{"scope": ["shop"]}', "scope"),
        ("pause", b'{"for": "30"}', "for"),
        ("pause", b'{"for": "0"}', "for"),
        ("pause", b'{"for": 30}', "for"),
        ("pause", b'{"until": "30m"}', "until"),
        ("resume", b'{"for": "30m"}', "for"),
        ("release", b"{}", "workload"),
        ("release", b'{"workload": "shop/checkout", "revision": ""}', "revision"),
    ],
)
async def test_a_body_that_is_not_exactly_right_is_refused_by_field(
    desk: Desk, name: str, body: bytes, field: str
) -> None:
    """Unknown fields, wrong types and values over the limits get 400 naming the field; nothing is journalled."""
    status, found = await desk.raw(name, body)
    assert status == 400
    assert field in found["error"]
    assert found["remedy"]
    assert desk.daemon.taken == []


@pytest.mark.parametrize(
    ("name", "query", "field"),
    [
        ("status", {"verbose": "1"}, "verbose"),
        ("incidents", {"limit": "0"}, "limit"),
        ("incidents", {"limit": "1001"}, "limit"),
        ("incidents", {"limit": "٣"}, "limit"),
        ("incidents", {"all": "yes"}, "all"),
        ("explain", {}, "about"),
        ("explain", {"about": "x" * 401}, "about"),
        ("verified", {}, "workload"),
    ],
)
async def test_a_question_that_is_not_exactly_right_is_refused_by_field(
    desk: Desk, name: str, query: dict[str, str], field: str
) -> None:
    """Unknown parameters and values outside of their limits get 400 naming the parameter."""
    status, found = await desk.ask(name, **query)
    assert status == 400
    assert field in found["error"]


async def test_a_large_command_is_refused(desk: Desk) -> None:
    """A command over 16 KiB gets 413."""
    assert (await desk.raw("close", b" " * 20_000))[0] == 413


async def test_approving_rolls_back_once(desk: Desk) -> None:
    """Approve leads on to the rollback; a second one is refused with the reason and rolls nothing back."""
    status, found = await desk.order("approve", incident=desk.incident)
    assert (status, found["done"]) == (200, True)
    assert "approval" in found["changed"][0]
    assert found["incident"]["phase"] == "rolling_back"
    status, found = await desk.order("approve", incident=desk.incident)
    assert (status, found["error"]) == (409, f"incident {desk.incident} is rolling_back, not proposed")
    assert len(desk.daemon.story.rollbacks) == 1


async def test_what_is_not_there_is_404(desk: Desk) -> None:
    """An unknown incident, workload or revision gets 404 with a remedy."""
    for name, fields in (
        ("approve", {"incident": "inc-1"}),
        ("release", {"workload": "shop/cart"}),
        ("release", {"workload": "shop/checkout", "revision": "22"}),
    ):
        status, found = await desk.order(name, **fields)
        assert (status, bool(found["remedy"])) == (404, True), found
    for name, query in (("explain", {"about": "nobody"}), ("verified", {"workload": "shop/cart"})):
        assert (await desk.ask(name, **query))[0] == 404


async def test_declining_then_closing_keeps_the_note(desk: Desk) -> None:
    """Only an escalated incident can be closed; the note reaches the command."""
    assert (await desk.order("close", incident=desk.incident))[0] == 409
    assert (await desk.order("decline", incident=desk.incident))[0] == 200
    status, found = await desk.order("close", incident=desk.incident, note="fixed by hand")
    assert (status, found["incident"]["phase"]) == (200, "closed")
    assert isinstance(desk.daemon.taken[-1], Closed)
    assert desk.daemon.taken[-1].note == "fixed by hand"


async def test_pausing_and_resuming(desk: Desk) -> None:
    """A pause has a scope and an end, says how many workloads it covers, and is lifted by exactly its scope."""
    status, found = await desk.order("pause", **{"scope": "shop", "for": "30m"})
    assert (status, found["covers"]) == (200, 1)
    asked = desk.daemon.taken[-1]
    assert isinstance(asked, PauseAsked)
    assert (asked.scope, asked.lasts) == ("shop", 30 * MINUTE)
    assert [row["scope"] for row in (await desk.ask("status"))[1]["pauses"]] == ["shop"]
    assert (await desk.order("pause", scope="elsewhere"))[1]["covers"] == 0
    assert (await desk.order("resume", scope=""))[0] == 409
    assert (await desk.order("resume", scope="shop"))[0] == 200


async def test_releasing_by_the_beginning_of_a_hash(tmp_path: Path) -> None:
    """A quarantined revision is released by workload, or by the beginning of its hash; a second time is refused."""
    daemon = Daemon(recovered())
    async with listening(daemon, tmp_path / "s") as address:
        desk = Desk(daemon, address, tmp_path / "s")
        status, found = await desk.order("release", workload="shop/checkout", revision="22")
        assert (status, len(found["changed"])) == (200, 1)
        asked = daemon.taken[-1]
        assert isinstance(asked, ReleaseAsked)
        assert (asked.workload, asked.revision) == (SHOP.key, V2.id)
        assert (await desk.order("release", workload="shop/checkout"))[0] == 409


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (JournalUnavailableError("disk full"), "disk full"),
        (InboxFullError("1"), "inbox"),
        (StandbyError("this daemon stands by, pod-a leads"), "pod-a leads"),
    ],
)
async def test_what_cannot_be_kept_is_503(desk: Desk, fault: Exception, words: str) -> None:
    """A journal that cannot write, a full inbox, or a daemon that stands by gets 503 and says that nothing was done."""
    desk.daemon.fault = fault
    status, found = await desk.order("approve", incident=desk.incident)
    assert status == 503
    assert words in found["error"]
    assert "nothing was done" in found["error"]
    assert found["remedy"]


async def test_a_command_before_the_daemon_is_ready_is_kept_and_said_so(tmp_path: Path) -> None:
    """While nothing is decided yet the answer is 202 with the reason, and the command comes to its end all the same."""

    class Slow(Daemon):
        async def command(self, event: Any) -> list[Fact]:
            await asyncio.sleep(0.3)
            return list(await super().command(event))

    daemon = Slow(Story())
    daemon.ready, daemon.answer_seconds = "caches are not synced", 0.05
    async with listening(daemon, tmp_path / "s") as address:
        status, found = await Desk(daemon, address, tmp_path / "s").order("pause")
        assert (status, found["done"], found["why"]) == (202, False, "caches are not synced")
        async with asyncio.timeout(5):
            while not daemon.taken:
                await asyncio.sleep(0.01)
    assert "" in daemon.state.pauses


async def test_the_list_puts_open_incidents_first(desk: Desk) -> None:
    """Ended incidents are listed when asked for, after the open ones, and what the limit leaves out is counted."""
    story = desk.daemon.story
    ended = replace(story.incident, id="inc-old", phase=Phase.CLOSED)  # type: ignore[arg-type]
    story.state = replace(story.state, incidents={"inc-old": ended, **story.state.incidents})
    assert [row["id"] for row in (await desk.ask("incidents"))[1]["incidents"]] == [desk.incident]
    _, found = await desk.ask("incidents", all="true")
    assert [row["id"] for row in found["incidents"]] == [desk.incident, "inc-old"]
    _, found = await desk.ask("incidents", all="true", limit="1")
    assert (len(found["incidents"]), found["left_out"]) == (1, 1)


async def test_status_tells_what_one_look_should(desk: Desk) -> None:
    """Readiness, open incidents and what cannot be rolled back are in one document."""
    desk.daemon.ready = "the journal is being read"
    status, found = await desk.ask("status")
    assert (status, found["ready"], found["why_not"]) == (200, False, "the journal is being read")
    assert found["cluster"] == "test"
    assert found["incidents"]["phases"] == {"proposed": 1}
    assert found["modes"] == {"observe": 0, "approve": 1, "auto": 0}
    assert found["workloads"]["revisions"]["verified"] == 1
    await desk.order("pause")
    assert (await desk.ask("status"))[1]["workloads"]["rows"][0]["unprotected"] == "paused"


@pytest.mark.parametrize("about", ["{id}", "f1", "shop/checkout", "shop/Deployment/checkout"])
async def test_explain_finds_an_incident_by_any_of_its_names(desk: Desk, about: str) -> None:
    """By id, by an alert's fingerprint and by its workload: the same incident."""
    status, found = await desk.ask("explain", about=about.format(id=desk.incident))
    assert (status, found["kind"], found["incident"]["id"]) == (200, "incident", desk.incident)


async def test_explain_holds_every_term_and_refusal(desk: Desk) -> None:
    """Each term with value, threshold, weight and sentence; each refusal with seen, needed and consequence."""
    _, found = await desk.ask("explain", about=desk.incident)
    (candidate,) = found["candidates"]
    terms = {term["name"]: term for term in candidate["terms"]}
    assert (terms["contrast"]["value"], terms["contrast"]["threshold"]) == (0.3, 0.05)
    assert candidate["score"] == pytest.approx(sum(term["weight"] for term in candidate["terms"]))
    assert (found["verdict"]["threshold"], found["verdict"]["margin"]) == (0.3, 0.2)
    (refusal,) = found["verdict"]["refusals"]
    assert (refusal["reason"], refusal["consequence"], refusal["overridable"]) == ("mode_approve", "propose", True)
    assert refusal["seen"]
    assert refusal["needed"]
    assert found["target"]["proof"]["kind"] == "traffic"
    assert found["target"]["check"]["exists"] is True
    assert [message["kind"] for message in found["told"]] == ["announce", "page"]
    assert [step["what"] for step in found["road"]] == ["opened", "checked", "judged", "proposed", "moved"]
    assert found["commands"][0] == f"lastgood approve {desk.incident}"


async def test_explain_tells_which_labels_of_an_unmapped_alert_were_tried(desk: Desk) -> None:
    """An alert that leads to no workload is explained by the labels tried, also beside a workload it may belong to."""
    story = desk.daemon.story
    story.where["f9"] = replace(a_location(), workloads=(), rung=Rung.NONE, tried=("pod=gone", "app=nobody"))
    story.fires(an_alert("f9", starts_at=story.now))
    _, found = await desk.ask("explain", about="f9")
    assert (found["kind"], found["alert"]["tried"]) == ("alert", ["pod=gone", "app=nobody"])
    assert "lastgood_workload" in found["why"]
    _, found = await desk.ask("explain", about="shop/checkout")
    assert [alert["fingerprint"] for alert in found["unmapped_alerts"]] == ["f9"]


async def test_explain_of_a_quiet_workload_says_so(tmp_path: Path) -> None:
    """A workload without an incident is known all the same."""
    story = Story()
    story.proves_v1()
    async with listening(Daemon(story), tmp_path / "s") as address:
        _, found = await Desk(Daemon(story), address, tmp_path / "s").ask("explain", about="shop/checkout")
    assert (found["kind"], found["workloads"][0]["standing"]) == ("workload", "verified")


async def test_hostile_labels_neither_break_nor_bloat_an_answer(desk: Desk) -> None:
    """Half characters, escape sequences and a megabyte in a label: still valid JSON in ASCII, cut to its limit."""
    story = desk.daemon.story
    labels = (("alertname", "\ud800\x1b[2J" + "x" * 2**20), ("deployment", "checkout"))
    story.fires(an_alert("f8", starts_at=story.now, labels=labels))
    connector = aiohttp.UnixConnector(str(desk.socket))
    url = f"http://lastgood/api/v1/explain?about={desk.incident}"
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
        raw = await response.read()
    assert raw.isascii()
    assert len(raw) < 50_000
    assert json.loads(raw)["alerts"][1]["fingerprint"] == "f8"


async def test_the_ledger_shows_each_revision_with_its_proof(desk: Desk) -> None:
    """The newest first; with the proof, or why there is none."""
    _, found = await desk.ask("verified", workload="shop/checkout")
    rows = {row["revision"]["number"]: row for row in found["revisions"]}
    assert list(rows) == [2, 1]
    assert rows[1]["proof"]["kind"] == "traffic"
    assert (rows[2]["proof"], bool(rows[2]["why_not"])) == (None, True)
