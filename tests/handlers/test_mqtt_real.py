"""Deployment events from a real Mosquitto: taken, refused, limited; across restarts, wrong passwords and TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import config
from daemon.core.events import Noticed
from daemon.ports import InboxFullError, JournalUnavailableError
from handlers.cloudevents import notices_of
from handlers.mqtt_link import PROPERTIES_BYTES_MAX, Tls
from handlers.notice_mapping import Sender
from tests import brokers, repository
from tests.brokers import Mosquitto
from tests.handlers.mqtt_world import World, publish, said, settings, until

pytestmark = pytest.mark.real


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with brokers.mosquitto(tmp_path / "broker") as started:
        yield started


async def test_what_is_published_is_journalled(broker: Mosquitto) -> None:
    """A message of mosquitto_pub reaches the intake, with QoS 0, 1 and 2, and is counted."""
    world = World(settings(broker, qos=2))
    async with world.running():
        for quality in ("0", "1", "2"):
            await publish(broker, said(quality), "-q", quality)
        await until(lambda: len(world.ids) == 3)
    assert world.ids == ["0", "1", "2"]
    assert world.counted.intakes == [("mqtt", "accepted")] * 3
    assert world.counted.contacts == [("mqtt", True)]


@pytest.mark.parametrize("mode", ["plain", "structured", "binary"])
async def test_what_a_pipeline_says(broker: Mosquitto, mode: str) -> None:
    """Plain JSON, a structured and a binary CloudEvent (user properties, MQTT 5 binding) give the same notice."""
    told = {"namespace": "shop", "name": "web", "image": "web:2", "commit": "abc"}
    stamp = {"id": "7", "source": "ci", "type": "deployment.finished", "time": "2026-11-20T12:00:00Z"}
    event = {**stamp, "type": "dev.lastgood.deployment.finished", "specversion": "1.0"}
    properties = [part for pair in event.items() for part in ("-D", "PUBLISH", "user-property", *pair)]
    content = ("-D", "PUBLISH", "content-type")
    body, options = {
        "plain": ({**stamp, **told}, ()),
        "structured": ({**event, "data": told}, (*content, "application/cloudevents+json")),
        "binary": (told, (*content, "application/json", *properties)),
    }[mode]
    world = World(settings(broker), parse=partial(notices_of, sender=Sender(name="mqtt", may_cause=False, mappings=())))
    async with world.running():
        await publish(broker, json.dumps(body), *options)
        await until(lambda: bool(world.counted.intakes))
    assert world.counted.intakes == [("mqtt", "accepted")]
    (noticed,) = world.kept.events
    assert isinstance(noticed, Noticed)
    assert noticed.notice.source == "mqtt"
    assert noticed.notice.commit == "abc"
    assert noticed.notice.images == ("web:2",)
    assert noticed.notice.workload is not None
    assert noticed.notice.workload.key == "shop/Deployment/web"


async def test_garbage_does_not_stop_what_follows(broker: Mosquitto) -> None:
    """Nonsense is refused, counted, acknowledged and never in the log; the next message is taken."""
    world = World(settings(broker))
    with capture_logs() as logs:
        async with world.running():
            for body in (b"hunter2 \xff\x00", b"null", b"{}", b"[" * 900):
                await publish(broker, body)
            await publish(broker, said("good"))
            await until(lambda: world.ids == ["good"])
    assert world.counted.intakes == [*[("mqtt", "malformed")] * 4, ("mqtt", "accepted")]
    assert "hunter2" not in str(logs)
    # Acknowledged: it does not come again.
    async with world.running():
        await publish(broker, said("next"))
        await until(lambda: world.ids == ["good", "next"])
    assert world.counted.intakes.count(("mqtt", "malformed")) == 4


async def test_too_large_is_refused_or_never_sent(broker: Mosquitto) -> None:
    """A body over the limit is refused and counted; one far over it the broker does not even send; neither blocks."""
    world = World(settings(broker))
    async with world.running():
        await publish(broker, b"x" * 1025)
        await publish(broker, b"x" * (PROPERTIES_BYTES_MAX + 2048))
        await publish(broker, said("good"))
        await until(lambda: world.ids == ["good"])
    assert world.counted.intakes == [("mqtt", "too_large"), ("mqtt", "accepted")]


async def test_more_than_may_be_under_way_at_once(broker: Mosquitto) -> None:
    """Many times the receive maximum arrives whole and in order, with QoS 1 and 2."""
    wanted = [str(number) for number in range(100)]
    for quality in (1, 2):
        world = World(settings(broker, qos=quality, receive_maximum=3, client_id=f"lastgood-{quality}"))
        async with world.running():
            lines = "\n".join(said(one) for one in wanted)
            await publish_lines(broker, lines, quality)
            await until(lambda: len(world.ids) >= 100)  # noqa: B023 - waited for within the turn
        assert world.ids == wanted


async def publish_lines(broker: Mosquitto, lines: str, quality: int) -> None:
    """Each line one message, on one connection."""
    program = ["mosquitto_pub", "-V", "5", "-p", str(broker.port), "-t", "lastgood/deployments/many", "-l"]
    process = await asyncio.create_subprocess_exec(*program, "-q", str(quality), stdin=asyncio.subprocess.PIPE)
    await process.communicate(lines.encode())
    assert process.returncode == 0


async def test_the_broker_restarts(broker: Mosquitto) -> None:
    """After a restart of the broker it connects again, and gets what was published before and after."""
    world = World(settings(broker))
    async with world.running():
        await publish(broker, said("before"))
        await until(lambda: world.ids == ["before"])
        broker.stop()
        await until(lambda: ("mqtt", False) in world.counted.contacts)
        broker.start()
        await publish(broker, said("after"))
        await until(lambda: world.ids == ["before", "after"])
        assert world.connections == 2


async def test_a_broker_that_is_not_there_stops_nothing(broker: Mosquitto) -> None:
    """A start without a broker waits for it; the failures are counted, and told once."""
    broker.stop()
    world = World(settings(broker))
    with capture_logs() as logs:
        running = asyncio.get_running_loop().create_task(world.inbound.run())
        await until(lambda: world.counted.contacts.count(("mqtt", False)) >= 3)
        assert not running.done()
        told = [line for line in logs if line["event"] == "mqtt_unreachable" and line["log_level"] == "warning"]
        assert len(told) == 1
        broker.start()
        await until(lambda: world.connections == 1)
        running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_broker_that_hangs(broker: Mosquitto) -> None:
    """A broker that is there and says nothing is given up after its pings; when it wakes, everything goes on."""
    world = World(settings(broker, keepalive_seconds=1, answer_seconds=1.0))
    async with world.running():
        broker.freeze()
        await until(lambda: world.counted.contacts.count(("mqtt", False)) >= 2)
        broker.thaw()
        await publish(broker, said("awake"))
        await until(lambda: world.ids == ["awake"])


async def test_messages_wait_while_we_are_away(broker: Mosquitto) -> None:
    """The persistent session keeps what is published while nobody is connected, also over the broker's own restart."""
    world = World(settings(broker))
    async with world.running():
        pass
    await publish(broker, said("away"))
    broker.stop()
    broker.start()
    with capture_logs() as logs:
        async with world.running():
            await until(lambda: world.ids == ["away"])
    assert {"event": "mqtt_connected", "session": "resumed", "log_level": "info"} in logs


@pytest.mark.parametrize("fault", [JournalUnavailableError("disk full"), InboxFullError("full")])
async def test_a_journal_that_cannot_write(broker: Mosquitto, fault: Exception) -> None:
    """Nothing is acknowledged meanwhile, the order stays, and each message is kept once the journal can write again."""
    world = World(settings(broker, receive_maximum=2))
    world.kept.fault = fault
    async with world.running():
        for one in "abcd":
            await publish(broker, said(one))
        await until(lambda: len(world.counted.intakes) >= 2)
        assert not world.ids
        assert ("mqtt", "accepted") not in world.counted.intakes
        world.kept.fault = None
        await until(lambda: len(world.ids) == 4)
    assert world.ids == list("abcd")


async def test_what_was_not_journalled_comes_again(broker: Mosquitto) -> None:
    """A gentle stop while the journal cannot write loses nothing: the next connection gets it, in order."""
    for quality in (1, 2):
        world = World(settings(broker, qos=quality, client_id=f"lastgood-{quality}"))
        world.kept.fault = JournalUnavailableError("disk full")
        async with world.running():
            for one in "abc":
                await publish(broker, said(one), "-q", str(quality))
            await until(lambda: ("mqtt", "unavailable") in world.counted.intakes)  # noqa: B023
        world.kept.fault = None
        async with world.running():
            await until(lambda: len(world.ids) == 3)  # noqa: B023
        assert world.ids == list("abc")


async def test_wrong_password_then_right(tmp_path: Path) -> None:
    """A refused password is told with its remedy, once, and tried again until the broker takes it."""
    with brokers.mosquitto(tmp_path / "broker", users={"ci": "right"}) as broker:
        world = World(settings(broker, username="ci", password="later"))
        with capture_logs() as logs:
            running = asyncio.get_running_loop().create_task(world.inbound.run())
            await until(lambda: world.counted.contacts.count(("mqtt", False)) >= 3)
            told = [line for line in logs if line["log_level"] == "error"]
            assert [line["event"] for line in told] == ["mqtt_unreachable"]
            assert "check mqtt.username, mqtt.password" in told[0]["reason"]
            assert "later" not in str(logs)
            broker.change_users({"ci": "later"})
            await until(lambda: world.connections == 1)
            await publish(broker, said("in"))
            await until(lambda: world.ids == ["in"])
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_tls(tmp_path: Path) -> None:
    """With the broker's authority, and with a certificate of ours where the broker asks for one, messages pass."""
    files = brokers.certificates(tmp_path / "tls")
    ours = Tls(ca_file=files.authority, cert_file=files.client, key_file=files.client_key)
    for lines, tls in (((), Tls(ca_file=files.authority)), (("require_certificate true",), ours)):
        with brokers.mosquitto(tmp_path / f"broker{len(lines)}", secured=files, lines=lines) as broker:
            world = World(settings(broker, tls=tls))
            async with world.running():
                extra = ("--cert", str(files.client), "--key", str(files.client_key)) if lines else ()
                await publish(broker, said("secret"), *extra)
                await until(lambda: world.ids == ["secret"])  # noqa: B023


@pytest.mark.parametrize("case", ["unknown authority", "missing file", "wrong name", "plain"])
async def test_tls_that_does_not_fit(tmp_path: Path, case: str) -> None:
    """A broker whose certificate cannot be checked is not spoken to; the log says what to do."""
    files = brokers.certificates(tmp_path / "tls")
    other = brokers.certificates(tmp_path / "tls", "other")
    ca_file = {"unknown authority": other.authority, "missing file": tmp_path / "none"}.get(case, files.authority)
    remedy = {"unknown authority": "is mqtt.ca_file the authority", "missing file": "check mqtt.ca_file"}.get(case, "")
    with brokers.mosquitto(tmp_path / "broker", secured=files) as broker:
        host = "localhost" if case == "wrong name" else "127.0.0.1"
        tls = None if case == "plain" else Tls(ca_file=ca_file)
        world = World(settings(broker, host=host, tls=tls, answer_seconds=2.0))
        with capture_logs() as logs:
            running = asyncio.get_running_loop().create_task(world.inbound.run())
            await until(lambda: ("mqtt", False) in world.counted.contacts and bool(logs))
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not world.connections
    assert remedy in logs[0]["reason"]


async def test_two_share_the_messages(broker: Mosquitto) -> None:
    """In a shared group each message goes to one of the members, and none is lost."""
    first = World(settings(broker, shared_group="lastgood", client_id="one"))
    second = World(settings(broker, shared_group="lastgood", client_id="two"))
    wanted = {str(number) for number in range(12)}
    async with first.running(), second.running():
        for one in wanted:
            await publish(broker, said(one))
        await until(lambda: len(first.ids) + len(second.ids) >= len(wanted))
    assert {*first.ids, *second.ids} == wanted
    assert len(first.ids) + len(second.ids) == len(wanted)
    assert first.ids
    assert second.ids


async def test_two_with_one_client_id(broker: Mosquitto) -> None:
    """A second client with our id throws us out; that is told, with what it may come from."""
    first, second = World(settings(broker)), World(settings(broker))
    with capture_logs() as logs:
        async with first.running(), second.running():
            await until(lambda: ("mqtt", False) in first.counted.contacts)
    assert any("does another client use our client id" in line.get("reason", "") for line in logs)


async def test_retained_messages(broker: Mosquitto) -> None:
    """A retained message comes with a new subscription, and not again at each return; deleting one is no garbage."""
    await publish(broker, said("kept"), "-r")
    world = World(settings(broker))
    async with world.running():
        await until(lambda: world.ids == ["kept"])
    async with world.running():
        await publish(broker, said("live"))
        await until(lambda: "live" in world.ids)
        await publish(broker, b"", "-r")
        await until(lambda: ("mqtt", "ignored") in world.counted.intakes)
    assert world.ids == ["kept", "live"]


async def test_a_topic_of_a_former_configuration(broker: Mosquitto) -> None:
    """What an old subscription of the session still brings is refused, and does not block."""
    async with World(settings(broker, topics=("old/#",))).running():
        pass
    world = World(settings(broker))
    async with world.running():
        await publish(broker, said("old"), topic="old/a")
        await publish(broker, said("new"))
        await until(lambda: world.ids == ["new"])
    assert ("mqtt", "malformed") in world.counted.intakes


def documented(kind: str) -> str:
    """The first block of that kind in the documentation of MQTT."""
    text = (repository.ROOT / "deploy" / "docs" / "mqtt.md").read_text(encoding="utf-8")
    return text.split(f"```{kind}\n", 1)[1].split("```", 1)[0]


async def test_the_documentation_works(tmp_path: Path) -> None:
    """The documented event arrives through the documented access rights, and the documented settings are read."""
    rights, secret, path = tmp_path / "rights", tmp_path / "secret", tmp_path / "lastgood.yaml"
    rights.write_text("user ci\n" + documented("\nuser ci"), encoding="utf-8")
    rights.chmod(0o600)
    secret.write_text("b\n", encoding="utf-8")
    text = documented("yaml").replace("/run/secrets/mqtt", str(secret))
    path.write_text(f"cluster: c\n{text}", encoding="utf-8")
    mqtt = config.load(path, {}).mqtt
    assert mqtt.password is not None
    users = {"ci": "a", "lastgood": "b"}
    with brokers.mosquitto(tmp_path / "broker", users=users, lines=(f"acl_file {rights}",)) as broker:
        parse = partial(notices_of, sender=Sender(name="mqtt", may_cause=False, mappings=()))
        asked = settings(broker, username=mqtt.username, password=mqtt.password.get_secret_value())
        world = World(asked, parse=parse)
        async with world.running():
            await publish(broker, documented("json"))
            await until(lambda: world.ids != [])
    assert world.counted.intakes == [("mqtt", "accepted")]
