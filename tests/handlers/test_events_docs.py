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

import config
from daemon import senders
from daemon.core.notices import NoticeStatus
from handlers.cloudevents import notices_of
from handlers.inbound import flux
from handlers.notice_fields import Fields
from handlers.notice_input import convention
from tests import documents, parts
from tests.handlers.events_world import WEB, sender, world

PAGE = documents.read("deploy/docs/events.md")
TOKEN = "the-token-of-the-pipeline"
HUB_SECRET = "the-secret-of-the-webhook"
LAB_TOKEN = "the-token-of-the-other-webhook"
FLUX_SECRET = "the-token-in-the-secret-of-the-provider"
SIGNING = "whsec_dGhlIGtleSBvZiB0aGUgc2lnbmluZyB0b2tlbiAzMmI="


def settings_of(folder: Path) -> config.Settings:
    """The page's own configuration, with its secrets in `folder`."""
    block = documents.blocks(PAGE, "yaml")[0]
    for name, secret in (("ci", TOKEN), ("hub", HUB_SECRET), ("lab", SIGNING), ("flux", FLUX_SECRET)):
        (folder / name).write_text(secret, encoding="utf-8")
    text = f"cluster: prod\n{block.body.replace('/run/secrets', str(folder))}"
    path = folder / "lastgood.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, {})


def test_the_configuration_of_the_page(tmp_path: Path) -> None:
    """It loads without a warning of its section, and each source gets its reader."""
    settings = settings_of(tmp_path)
    assert set(senders.event_readers(settings)) == {"ci", "hub", "lab", "flux"}
    assert [line for line in settings.warnings if line.startswith("events")] == []


def test_the_manifests_for_flux(tmp_path: Path) -> None:
    """The Provider sends to a source of the page, of its kind, and proves itself as that asks; the Alert names what is read."""
    (block,) = (each for each in documents.blocks(PAGE, "yaml") if "kind: Provider" in each.body)
    provider, alert = yaml.safe_load_all(block.body)
    source = settings_of(tmp_path).events.sources[provider["spec"]["address"].rpartition("/api/v1/events/")[2]]
    assert (source.kind, source.secret is not None) == ("flux", provider["spec"]["type"] == "generic-hmac")
    assert alert["spec"]["providerRef"]["name"] == provider["metadata"]["name"]
    assert [each["kind"] for each in alert["spec"]["eventSources"]] == list(flux.REASONS)


def test_the_reasons_of_flux() -> None:
    """The page's table is the code's."""
    words = {"started": "STARTED", "finished": "SUCCEEDED", "failed": "FAILED", "rolled back": "ROLLED_BACK"}
    told = {}
    for events, meaning in documents.table(PAGE, "event"):
        for kind, reasons in re.findall(r"(Kustomization|HelmRelease): ([^;]*)", events):
            for reason in re.findall(r"`(\w+)`", reasons):
                told[kind, reason] = NoticeStatus[words[meaning.partition(",")[0]]]
    assert told == {(kind, reason): status for kind, known in flux.REASONS.items() for reason, status in known.items()}


@pytest.mark.parametrize("block", documents.blocks(PAGE, "json"), ids=lambda block: f"line {block.line}")
def test_each_json_example_is_understood(block: documents.Block) -> None:
    """Whole events name the workload; a `lastgood` object does where it stands alone."""
    content = json.loads(block.body)
    if "lastgood" in content:
        assert convention(Fields(content), sender())[0].workload == WEB
    else:
        (notice,) = notices_of("application/json", {}, block.body.encode(), sender())
        assert notice.workload == WEB


@pytest.mark.real
@pytest.mark.parametrize("block", documents.blocks(PAGE, "sh"), ids=lambda block: f"line {block.line}")
async def test_each_command_is_taken(block: documents.Block, tmp_path: Path) -> None:
    """Typed as it stands, each is answered 202: by curl, over a socket, with signatures made by openssl."""
    parts.require("curl")
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
        token = LAB_TOKEN if "X-Gitlab-Token" in block.body else TOKEN
        secret = FLUX_SECRET if "X-Signature:" in block.body else HUB_SECRET
        given = {"LASTGOOD": str(served.client.make_url("")).rstrip("/"), "TOKEN": token, "SECRET": secret}
        shell = await asyncio.create_subprocess_exec(
            "sh", "-euc", block.body, env={**os.environ, **given}, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(shell.communicate(), 30)
        assert (shell.returncode, output.decode()) == (0, "accepted\n")
        assert served.counted.intakes[0][1] == "accepted"
