"""deploy/docs/events.md does what it says: its configuration loads, its examples are understood, its commands are taken."""

from __future__ import annotations

import asyncio
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

import config
from daemon import senders
from daemon.core.notices import NoticeStatus
from handlers.cloudevents import notices_of
from handlers.inbound import flagger, flux
from handlers.inbound.deployment_events import PATH as EVENTS_PATH
from handlers.inbound.flagger import FlaggerRollback
from handlers.notice_fields import Fields
from handlers.notice_input import convention
from handlers.server import ServerLimits, build_app
from tests import documents, parts
from tests.core.story import Story
from tests.handlers.events_world import WEB, sender, world
from tests.handlers.intake_fakes import Counted, Kept
from tests.handlers.people import Daemon
from tests.packaging.test_notifications import FILES, TRIGGERS

PAGE = documents.read("deploy/docs/events.md")
TOKEN = "the-token-of-the-pipeline"
HUB_SECRET = "the-secret-of-the-webhook"
LAB_TOKEN = "the-token-of-the-other-webhook"
FLUX_SECRET = "the-token-in-the-secret-of-the-provider"
CANARY_TOKEN = "the-token-of-the-canaries"
WORDS = {
    "started": NoticeStatus.STARTED,
    "finished": NoticeStatus.SUCCEEDED,
    "failed": NoticeStatus.FAILED,
    "rolled back": NoticeStatus.ROLLED_BACK,
}
SIGNING = "whsec_dGhlIGtleSBvZiB0aGUgc2lnbmluZyB0b2tlbiAzMmI="


def settings_of(folder: Path) -> config.Settings:
    """The page's own configuration, with its secrets in `folder`."""
    block = documents.blocks(PAGE, "yaml")[0]
    secrets = {"ci": TOKEN, "hub": HUB_SECRET, "lab": SIGNING, "flux": FLUX_SECRET, "canaries": CANARY_TOKEN}
    secrets |= {name: f"the-token-of-{name}-of-argo" for name in ("argocd", "rollouts")}
    for name, secret in secrets.items():
        (folder / name).write_text(secret, encoding="utf-8")
    text = f"cluster: prod\n{block.body.replace('/run/secrets', str(folder))}"
    path = folder / "lastgood.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, {})


def test_the_configuration_of_the_page(tmp_path: Path) -> None:
    """It loads without a warning of its section, and each source gets its reader."""
    settings = settings_of(tmp_path)
    assert set(senders.event_readers(settings)) == {"ci", "hub", "lab", "flux", "canaries", "argocd", "rollouts"}
    assert [line for line in settings.warnings if line.startswith("events")] == []


def test_the_manifests_for_flux(tmp_path: Path) -> None:
    """The Provider sends to a source of the page, of its kind, and proves itself as that asks; the Alert names what is read."""
    (block,) = (each for each in documents.blocks(PAGE, "yaml") if "kind: Provider" in each.body)
    provider, alert = yaml.safe_load_all(block.body)
    source = settings_of(tmp_path).events.sources[provider["spec"]["address"].rpartition("/api/v1/events/")[2]]
    assert (source.kind, source.secret is not None) == ("flux", provider["spec"]["type"] == "generic-hmac")
    assert alert["spec"]["providerRef"]["name"] == provider["metadata"]["name"]
    assert [each["kind"] for each in alert["spec"]["eventSources"]] == list(flux.REASONS)


def test_the_triggers_of_argo(tmp_path: Path) -> None:
    """The page's table is that of the files, and each file sends to a source of the page that takes a bearer token."""
    told: dict[str, NoticeStatus] = {}
    for triggers, meaning in documents.table(PAGE, "trigger"):
        told |= dict.fromkeys(re.findall(r"`([\w-]+)`", triggers), WORDS[meaning])
    assert told == {name: status for known in TRIGGERS.values() for name, status in known.items()}
    sources = settings_of(tmp_path).events.sources
    for name, file in FILES.items():
        assert (sources[name].kind, f"../ci/{file}.yaml" in PAGE) == ("events", True)


def test_the_reasons_of_flux() -> None:
    """The page's table is the code's."""
    told = {}
    for events, meaning in documents.table(PAGE, "event"):
        for kind, reasons in re.findall(r"(Kustomization|HelmRelease): ([^;]*)", events):
            for reason in re.findall(r"`(\w+)`", reasons):
                told[kind, reason] = WORDS[meaning.partition(",")[0]]
    assert told == {(kind, reason): status for kind, known in flux.REASONS.items() for reason, status in known.items()}


def test_the_hooks_for_flagger(tmp_path: Path) -> None:
    """Each stands at the address that reads its type, with the token of that source."""
    (block,) = (each for each in documents.blocks(PAGE, "yaml") if "type: rollback" in each.body)
    sources = settings_of(tmp_path).events.sources
    addresses = {"event": EVENTS_PATH, "post-rollout": EVENTS_PATH, "rollback": flagger.PATH}
    found = yaml.safe_load(block.body)["spec"]["analysis"]["webhooks"]
    assert [each["type"] for each in found] == list(addresses)
    for each in found:
        (name,) = (name for name, source in sources.items() if source.kind == "flagger")
        assert each["url"].endswith(f":9095{addresses[each['type']].format(source=name)}")
        assert sources[name].token == SecretStr(each["metadata"]["token"])


@pytest.mark.parametrize("block", documents.blocks(PAGE, "json"), ids=lambda block: f"line {block.line}")
def test_each_json_example_is_understood(block: documents.Block) -> None:
    """Whole events name the workload; a `lastgood` object does where it stands alone."""
    content = json.loads(block.body)
    if "lastgood" in content:
        assert convention(Fields(content), sender())[0].workload == WEB
    else:
        (notice,) = notices_of("application/json", {}, block.body.encode(), sender())
        assert notice.workload == WEB


COMMANDS = documents.blocks(PAGE, "sh")


@pytest.mark.real
@pytest.mark.parametrize(
    "block", [each for each in COMMANDS if "/rollback" not in each.body], ids=lambda block: f"line {block.line}"
)
async def test_each_command_is_taken(block: documents.Block, tmp_path: Path) -> None:
    """Typed as it stands, each is answered 202: by curl, over a socket, with signatures made by openssl."""
    if "openssl" in block.body:
        parts.require("openssl")
    settings_of(tmp_path)
    # The page's command for GitLab uses the secret token: a signature needs openssl and more than one line.
    (tmp_path / "lab").write_text(LAB_TOKEN, encoding="utf-8")
    text = (tmp_path / "lastgood.yaml").read_text(encoding="utf-8").replace("signing_token_file", "token_file")
    rule = "    - {match: {repository: shop/front/web}, workload: shop/web}\n"
    (tmp_path / "lastgood.yaml").write_text(text + rule, encoding="utf-8")
    settings = config.load(tmp_path / "lastgood.yaml", {})
    async with world(senders.event_readers(settings), datetime.now(UTC)) as served:
        assert await typed(block, str(served.client.make_url(""))) == "accepted\n"
        assert served.counted.intakes[0][1] == "accepted"


@pytest.mark.real
async def test_the_command_that_asks_for_a_rollback(tmp_path: Path) -> None:
    """Typed as it stands it is understood, and answered no: nothing is known of the workload."""
    (block,) = (each for each in COMMANDS if "/rollback" in each.body)
    daemon = Daemon(Story())
    hooks = senders.canary_hooks(settings_of(tmp_path))
    asked = FlaggerRollback(
        intake=Kept(), reader=daemon, policy=lambda: daemon.story.policy, clock=daemon, telemetry=Counted(), hooks=hooks
    )
    async with TestServer(build_app(routes=asked.routes(), limits=ServerLimits())) as server:
        found = json.loads(await typed(block, str(server.make_url(""))))
    assert (found["rollback"], found["reason"]) == (False, "shop/Deployment/web is not known here")


async def typed(block: documents.Block, address: str) -> str:
    """What the shell prints for a command of the page."""
    parts.require("curl")
    tokens = {"X-Gitlab-Token": LAB_TOKEN, "/canaries": CANARY_TOKEN}
    token = next((each for mark, each in tokens.items() if mark in block.body), TOKEN)
    secret = FLUX_SECRET if "X-Signature:" in block.body else HUB_SECRET
    given = {"LASTGOOD": address.rstrip("/"), "TOKEN": token, "SECRET": secret}
    shell = await asyncio.create_subprocess_exec(
        "sh", "-euc", block.body, env={**os.environ, **given}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(shell.communicate(), 30)
    assert shell.returncode == 0
    return output.decode()
