"""Somebody follows the README: every command in it is run, in a copy of the repository, against the sandbox's world.

The reader changes `lastgood.yaml` exactly where the README says so, and shortens the time limits; the cluster is found
through the usual kubeconfig. A command that is not known here fails by name: add a step that shows it works.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import yaml

from deploy.sandbox.demo import furnish
from deploy.sandbox.scenarios import APP, SCENARIOS
from deploy.sandbox.world import POLICY, WEBHOOK_TOKEN, World, image
from tests import documents, repository
from tests.backtest import past_world
from tests.backtest.filled_prometheus import filled_with
from tests.backtest.openmetrics import text_of
from tests.parts import require

pytestmark = pytest.mark.real

README = documents.read("README.md")
COMMAND_SECONDS = 30.0
"""For one command; each takes less than a second on an idle machine."""

STEP_SECONDS = 60.0
"""For what is waited for (ready, verified, escalated): each takes some five seconds."""

DEMO_SECONDS = 120.0
"""`make demo` ends by itself within a minute; the rest is for starting on a busy machine."""

HEADING = re.compile(r"^[A-Z][A-Z ]+\b", re.MULTILINE)
STEP = re.compile(r"^ +\d+\.\ds  (\w+)", re.MULTILINE)


def copied(folder: Path) -> Path:
    """A copy of the repository with the virtual environment of this one, which is not to be set up anew."""
    ready = repository.ROOT / ".venv" / ".ready"
    if not ready.exists():
        pytest.skip("part missing: .venv (make setup)")
    for path in repository.files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository.ROOT / path, target)
        os.utime(target, (0, 0))  # older than the stamp: else `make` would install this copy over the original
    (folder / ".venv").symlink_to(ready.parent, target_is_directory=True)
    return folder


@dataclass(kw_only=True)
class Reader:
    """Who types, where, and what was answered."""

    folder: Path
    environment: dict[str, str] = field(repr=False)
    daemon: asyncio.subprocess.Process | None = None

    async def ask(self, command: str, seconds: float = COMMAND_SECONDS) -> tuple[int, str]:
        """Exit code and output of one command, typed into a shell in the copy."""
        process = await self._start(command, asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(seconds):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode()

    async def types(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """What a command printed that must succeed."""
        code, output = await self.ask(command, seconds)
        assert code == 0, f"{command}: exit code {code}\n{output}\n{self.log()}"
        return output

    async def types_until(self, command: str, holds: Callable[[int, str], bool]) -> str:
        """Type it again and again until the answer is as it should be."""
        answer = (0, "")
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while not holds(*(answer := await self.ask(command))):
                    assert self.daemon is None or self.daemon.returncode is None, self.log()
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"{command}: still {answer}\n{self.log()}") from None
        return answer[1]

    async def _start(self, command: str, output: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "bash", "-c", command,
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT if output == asyncio.subprocess.PIPE else output,
        )  # fmt: skip

    async def leave_running(self, command: str) -> None:
        """Start what stays in the foreground of another terminal."""
        with (self.folder / "daemon.log").open("wb") as log:
            self.daemon = await self._start(f"exec {command}", log.fileno())

    async def stop(self) -> int:
        """Ctrl-C's gentler sister; the exit code."""
        assert self.daemon is not None
        self.daemon.terminate()
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self.daemon.wait()
        except TimeoutError:
            self.daemon.kill()
            raise

    def log(self) -> str:
        """The end of the daemon's log."""
        path = self.folder / "daemon.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else "(the daemon was not started)"


@asynccontextmanager
async def reading(folder: Path) -> AsyncIterator[Reader]:
    """A reader in a copy of the repository, whose daemon does not outlive the test."""
    # Also without what `make test` leaves there: a `make` below it would name the folders that it enters and leaves.
    ours = ("LASTGOOD_", "KUBE", "MAKE", "MFLAGS")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    clean["CI_TOKEN"] = CI_TOKEN
    reader = Reader(folder=copied(folder / "clone"), environment=clean)
    try:
        yield reader
    finally:
        if reader.daemon is not None and reader.daemon.returncode is None:
            await reader.stop()


async def set_up(reader: Reader, _world: World) -> None:
    assert "setup: ready" in await reader.types("make setup")


async def export(command: str, reader: Reader, _world: World) -> None:
    """Later commands are shells of their own: they get what this one exported."""
    names = ("PATH", "LASTGOOD_CONFIG")
    shown = await reader.types(f"{command} && printenv {' '.join(names)}")
    reader.environment |= dict(zip(names, shown.splitlines(), strict=True))
    assert Path(reader.environment["LASTGOOD_CONFIG"]) == reader.folder / "lastgood.yaml"


async def configure(command: str, reader: Reader, world: World) -> None:
    """What the README tells to set, and time limits that fit into a test."""
    await reader.types(command)
    path = reader.folder / "lastgood.yaml"
    content = yaml.safe_load(path.read_text())
    assert world.monitoring is not None
    content["cluster"] = "sandbox"
    content["state_dir"] = str(world.folder / "state")
    content["prometheus"]["url"] = world.monitoring.prometheus_url
    content["alertmanager"] = {"urls": [world.monitoring.alertmanager_url], "poll_interval": "2s", "settle": "1s"}
    content["server"]["webhook_tokens"] = {"alertmanager": WEBHOOK_TOKEN}
    content["server"]["listen"] = f"127.0.0.1:{world.port}"
    content["events"] = {"sources": {"ci": {"kind": "events", "token": CI_TOKEN}}}
    content["policy"] |= POLICY
    path.write_text(yaml.safe_dump(content))


async def check(reader: Reader, _world: World) -> None:
    assert "lastgood.yaml: good" in await reader.types("lastgood check-config lastgood.yaml")


async def run(reader: Reader, _world: World) -> None:
    await reader.leave_running("lastgood run")
    await reader.types_until("lastgood status", lambda code, _: code == 0)


async def status(reader: Reader, _world: World) -> None:
    assert (await reader.types("lastgood status")).startswith("ready\n")


async def verified(reader: Reader, _world: World) -> None:
    assert "VERIFIED" in await reader.types_until("lastgood verified shop/web", lambda code, _: code == 0)


async def incidents(reader: Reader, _world: World) -> None:
    await reader.types("lastgood incidents")


async def explain(reader: Reader, world: World) -> None:
    """A bad rollout in `observe`: decided, explained under the headings that the README shows, and nothing touched."""
    world.services.fault(image=image(APP, "v2"), error_ratio=0.4)
    await world.set_image(APP, "v2")
    await reader.types_until(
        "lastgood incidents --json", lambda code, text: code == 0 and _phases(text) == ["escalated"]
    )
    told = await reader.types("lastgood explain shop/web")
    (shown,) = [block.body for block in documents.blocks(README, "text") if "WHAT HAPPENED" in block.body]
    assert HEADING.findall(told) == HEADING.findall(shown)
    assert "MODE_OBSERVE" in told
    assert (world.version(APP), world.rollbacks()) == ("v2", 0)


def _phases(document: str) -> list[str]:
    return [str(row["phase"]) for row in json.loads(document)["incidents"]]


async def judge(command: str, reader: Reader, _world: World) -> None:
    """Only the incident's name is the test's own: the README shows that of its example."""
    (row,) = json.loads(await reader.types("lastgood incidents --json"))["incidents"]
    said = await reader.types(re.sub(r"inc-[\d-]+", row["id"], command))
    assert f"{row['id']} is judged right" in said
    assert "JUDGED RIGHT" in await reader.types("lastgood explain shop/web")


async def scorecard(reader: Reader, _world: World) -> None:
    """One word is not enough to arm it, and the exit code says so."""
    code, said = await reader.ask("lastgood scorecard shop/web")
    assert (code, "v2 was broken" in said) == (1, True), said


async def pause(reader: Reader, _world: World) -> None:
    await reader.types("lastgood pause shop --for 1h")
    assert await _paused(reader) == ["shop"]


async def resume(reader: Reader, _world: World) -> None:
    await reader.types("lastgood resume shop")
    assert await _paused(reader) == []


async def annotate(command: str, reader: Reader, _world: World) -> None:
    await reader.types(command)
    await reader.types_until("lastgood status --json", lambda _, text: "annotation lastgood.dev/paused" in text)
    assert await _paused(reader) == ["shop"]


async def _paused(reader: Reader) -> list[str]:
    return [str(pause["scope"]) for pause in json.loads(await reader.types("lastgood status --json"))["pauses"]]


async def tell(command: str, reader: Reader, world: World) -> None:
    """The event is taken; only the address and the moment are the test's own."""
    await reader.types(command.replace("127.0.0.1:9095", f"127.0.0.1:{world.port}"))


async def history(reader: Reader, _world: World) -> None:
    assert "0a1b2c3d" in await reader.types_until("lastgood history shop/web", lambda _, text: "0a1b2c3d" in text)


async def gate(reader: Reader, _world: World) -> None:
    """An incident is open in this world, so the gate is closed, with the reason."""
    code, said = await reader.ask("lastgood gate shop/web")
    assert (code, "closed: " in said) == (1, True), said


async def preflight(reader: Reader, _world: World) -> None:
    """In mode observe, without a pager, it names what is missing, each with its remedy."""
    code, said = await reader.ask("lastgood preflight shop/web")
    assert code in (0, 1), said
    assert "shop/web" in said


EXPORT = 'export PATH="$PWD/.venv/bin:$PATH" LASTGOOD_CONFIG="$PWD/lastgood.yaml"'
COPY = "cp deploy/lastgood.example.yaml lastgood.yaml"
ANNOTATE = "kubectl annotate namespace shop lastgood.dev/paused=true"
DEMO = "make demo"
(TELL,) = [command for command in documents.commands(README) if command.startswith("curl ")]
JUDGE, BACKTEST = (
    next(command for command in documents.commands(README) if f"lastgood {name} " in command)
    for name in ("judge", "backtest")
)
CI_TOKEN = "a-token-of-the-pipeline"

STEPS: dict[str, Callable[[Reader, World], Awaitable[None]]] = {
    "make setup": set_up,
    EXPORT: partial(export, EXPORT),
    COPY: partial(configure, COPY),
    "lastgood check-config lastgood.yaml": check,
    "lastgood run": run,
    "lastgood status": status,
    "lastgood verified shop/web": verified,
    "lastgood incidents": incidents,
    "lastgood explain shop/web": explain,
    JUDGE: partial(judge, JUDGE),
    "lastgood scorecard shop/web": scorecard,
    "lastgood pause shop --for 1h": pause,
    "lastgood resume shop": resume,
    ANNOTATE: partial(annotate, ANNOTATE),
    "lastgood preflight shop/web": preflight,
    TELL: partial(tell, TELL),
    "lastgood history shop/web": history,
    "lastgood gate shop/web": gate,
}


def test_every_command_is_known() -> None:
    """Each command of the README's sh blocks is run by a test below; another one is named here."""
    unknown = [command for command in documents.commands(README) if command not in {*STEPS, DEMO, BACKTEST}]
    assert unknown == [], "no test shows that these commands of the README work"


async def test_the_demo_shows_what_the_readme_shows(tmp_path: Path) -> None:
    """`make demo` ends as the README's last line says, with the same steps on the way."""
    (shown,) = [block.body for block in documents.blocks(README, "text") if "demo: scenario=" in block.body]
    async with reading(tmp_path) as reader:
        told = await reader.types(DEMO, DEMO_SECONDS)
    assert re.sub(r"\d+$", "", told.strip().splitlines()[-1]) == re.sub(r"\d+$", "", shown.strip().splitlines()[-1])
    assert set(STEP.findall(told)) == set(STEP.findall(shown))


async def test_the_backtest_finds_what_was_planted(tmp_path: Path) -> None:
    """Of six hours in a real Prometheus: both bad rollouts, no other, and the page. Address and time are the test's own."""
    require("promtool")
    with filled_with(text_of(past_world.planted(), past_world.STEP), tmp_path) as url:
        command = BACKTEST.replace("http://127.0.0.1:9090", url)
        command = command.replace(
            "--from 30d", f"--from {past_world.START:%Y-%m-%dT%H:%M:%SZ} --to {past_world.END:%Y-%m-%dT%H:%M:%SZ}"
        )
        assert command.count("--to") == 1
        async with reading(tmp_path) as reader:
            told = await reader.types(f"{command} 2> said", DEMO_SECONDS)
            page = (reader.folder / "month.html").read_text()
    verdicts = [json.loads(line) for line in told.splitlines()]
    acted = {each["workload"] for each in verdicts if each["verdict"] == "roll_back"}
    assert acted == {past_world.WEB, past_world.CART}
    assert page.count("<svg") == len(verdicts)


async def test_the_road_to_a_first_workload(tmp_path: Path) -> None:
    """From set-up to a paused namespace, in the README's order, each command does what is said beside it."""
    require("kubectl")
    folder = tmp_path / "w"
    folder.mkdir()
    setup = partial(furnish, scenario=SCENARIOS["observe"])
    async with World(folder=folder, kind="stand-in", setup=setup) as world, reading(tmp_path) as reader:
        reader.environment["KUBECONFIG"] = str(world.cluster.write_kubeconfig(folder / "kubeconfig"))
        for command in documents.commands(README):
            if command not in {DEMO, BACKTEST}:
                await STEPS[command](reader, world)
        assert await reader.stop() == 0
