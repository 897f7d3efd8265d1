"""`lastgood quarantine`: for people, and as the list of the admission policy; never a list that may be incomplete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.sources import RESERVED
from daemon.cli import quarantine
from daemon.cli.exits import CliError, Exit
from tests.cli.desk import Desk, one_line
from tests.handlers.people import WEBHOOK_TOKEN, Daemon, listening, recovered

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    """A daemon that rolled v2 back to v1."""
    daemon = Daemon(recovered())
    async with listening(daemon, tmp_path / "s") as address:
        yield Desk(daemon, address, tmp_path / "s", capsys)


def row(workload: str, *images: str, digests: tuple[str, ...] = ()) -> dict[str, object]:
    revision = {"label": "web:v2 (22hash)"}
    return {
        "workload": workload, "revision": revision, "quarantined_by": "inc-1",
        "images": list(images), "digests": list(digests),
    }  # fmt: skip


async def test_people_see_what_is_kept_out_and_by_whom(desk: Desk) -> None:
    """One row: workload, revision, incident, digest and reference."""
    typed = await desk.types("quarantine")
    assert (typed.code, typed.err) == (Exit.OK, "")
    _, found = typed.out.splitlines()
    shown = ("shop/checkout", "checkout:v2 (22hash)", desk.daemon.story.incident.id, "sha256:2, registry.example")
    assert all(each in found for each in shown)


async def test_the_list_of_the_policy(desk: Desk) -> None:
    """A ConfigMap as JSON, with a key for the workload; where it lies may be told."""
    typed = await desk.types("quarantine", "--configmap")
    made = json.loads(typed.out)
    assert (typed.code, made["kind"]) == (Exit.OK, "ConfigMap")
    assert (made["metadata"]["namespace"], made["metadata"]["name"]) == ("lastgood", "lastgood-quarantine")
    assert made["data"] == {"shop.Deployment.checkout": "sha256:2\nregistry.example/checkout:v2\n"}
    typed = await desk.types("--json", "quarantine", "--configmap", "ops/held")
    assert json.loads(typed.out)["metadata"]["namespace"] == "ops"


async def test_json_is_the_daemons_document(desk: Desk) -> None:
    """With whole images and digests."""
    typed = await desk.types("quarantine", "--json")
    (found,) = json.loads(typed.out)["revisions"]
    assert (found["images"], found["digests"]) == (["registry.example/checkout:v2"], ["sha256:2"])


async def test_what_is_released_leaves_the_list(desk: Desk) -> None:
    """An empty list is a list: applied, it lifts what the last one kept out."""
    desk.daemon.story.releases()
    assert json.loads((await desk.types("quarantine", "--configmap")).out)["data"] == {}
    assert (await desk.types("quarantine")).out == "nothing is quarantined\n"


async def test_a_daemon_that_is_not_ready_gives_no_list(desk: Desk) -> None:
    """Exit code 3 and nothing on stdout, which `kubectl apply -f -` refuses: the last list stays."""
    desk.daemon.ready = "caches are not synced"
    typed = await desk.types("quarantine", "--configmap")
    assert (typed.code, typed.out) == (Exit.UNREACHABLE, "")
    assert "caches are not synced" in one_line(typed.err)


async def test_a_senders_token_is_enough(desk: Desk, tmp_path: Path) -> None:
    """As for the gate: the job that keeps the list needs no operator's token; a wrong one is exit code 4."""
    where = ("--server", desk.address, "--token-file", str(tmp_path / "token"))
    for token, code in ((WEBHOOK_TOKEN, Exit.OK), ("forged", Exit.UNAUTHORISED)):
        (tmp_path / "token").write_text(token)
        assert (await desk.types_exactly(*where, "quarantine")).code == code


@pytest.mark.parametrize("where", ["held", "Ops/held", "ops/", "a/b/c", ""])
async def test_a_wrong_place_is_usage(desk: Desk, where: str) -> None:
    """Exit code 2 before anything is asked."""
    typed = await desk.types("quarantine", "--configmap", where)
    assert (typed.code, typed.out) == (Exit.USAGE, "")
    one_line(typed.err)


def test_two_revisions_of_a_workload_share_its_key_and_nothing_is_told_twice() -> None:
    """One line each; what holds a blank is no reference and would be two lines; no line, no key."""
    rows = [row("s/Deployment/a", "a:2", "x y"), row("s/Deployment/a", "a:2", "a:3"), row("s/Deployment/b")]
    assert quarantine.configmap({"revisions": rows}, "n/l")["data"] == {"s.Deployment.a": "a:2\na:3\n"}


@pytest.mark.parametrize(
    "found",
    [row(f"shop/Deployment/{'a' * 240}", "a:1"), row("shop/Deployment/w", *(f"a:{n:0>99}" for n in range(9999)))],
)
def test_what_no_configmap_takes_is_refused_whole(found: dict[str, object]) -> None:
    """A list that silently lacks a line would let it in."""
    with pytest.raises(CliError, match="ConfigMap") as caught:
        quarantine.configmap({"revisions": [found]}, "n/l")
    assert caught.value.code is Exit.REFUSED
