"""The section `mqtt`: its defaults, what is refused with which remedy, and what is warned of."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import config

URL = "url: mqtts://broker.example"


def settings_of(tmp_path: Path, mqtt: str, **environ: str) -> config.Settings:
    """Load with `mqtt` as the section's content, in braces, and LASTGOOD_MQTT__ variables."""
    path = tmp_path / "lastgood.yaml"
    path.write_text(f"cluster: c\nmqtt: {{{mqtt}}}\n", encoding="utf-8")
    return config.load(path, {f"LASTGOOD_MQTT__{name}": value for name, value in environ.items()})


def test_off_unless_there_is_a_broker(tmp_path: Path) -> None:
    """Without a url nothing is connected to; the defaults lose nothing and let nothing cause."""
    mqtt = settings_of(tmp_path, "").mqtt
    assert not mqtt.is_set
    assert (mqtt.qos, mqtt.may_cause, mqtt.session_expiry) == (1, False, timedelta(days=1))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker", ("broker", 1883, False)),
        ("mqtts://broker", ("broker", 8883, True)),
        ("mqtts://broker:1/", ("broker", 1, True)),
        ("mqtt://[::1]:1884", ("::1", 1884, False)),
    ],
)
def test_addresses(tmp_path: Path, url: str, address: tuple[str, int, bool]) -> None:
    """The scheme chooses TLS and the default port."""
    mqtt = settings_of(tmp_path, f'url: "{url}"').mqtt
    assert (mqtt.host, mqtt.port, mqtt.is_tls) == address


def test_variables(tmp_path: Path) -> None:
    """Topics may be a list in commas; the password may come from a file, and is shown nowhere."""
    secret = tmp_path / "password"
    secret.write_text("hunter2\n", encoding="utf-8")
    settings = settings_of(tmp_path, f"{URL}, username: ci, password_file: {secret}", TOPICS="a/#, b/+/c")
    assert settings.mqtt.topics == ("a/#", "b/+/c")
    assert settings.mqtt.password is not None
    assert settings.secrets == {"hunter2"}
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("url: broker", "mqtt.url: is no broker's address; write it like mqtts://host:8883"),
        ("url: http://broker", "mqtt.url: is no broker's address"),
        ("url: mqtt://broker/topic", "mqtt.url: is no broker's address"),
        ("url: mqtt://broker:99999", "mqtt.url: is no broker's address"),
        ("url: mqtt://ci:hunter2@broker", "mqtt.url: holds credentials; put them into mqtt.username"),
        ("topics: []", "mqtt.topics: needs 1 to 100 topics"),
        ("topics: [a, a]", "mqtt.topics: needs 1 to 100 topics"),
        ("topics: ['a/#/b']", "is no topic filter; write it like"),
        ("topics: ['a+']", "is no topic filter; write it like"),
        ("topics: ['']", "is no topic filter; write it like"),
        ("topics: ['$share/g/a']", "write the topic alone, and the group as mqtt.shared_group"),
        ("qos: 0", "mqtt.qos: is 0, which a broker never delivers again"),
        ("qos: 3", "mqtt.qos: input should be less than or equal to 2"),
        ("client_id: 'a b'", "mqtt.client_id: is no client id; use letters"),
        ("shared_group: a/b", "mqtt.shared_group: is no group; write a word"),
        ("session_expiry: 500ms", "session_expiry must be whole seconds"),
        ("receive_maximum: 0", "mqtt.receive_maximum: input should be greater"),
        ("body_limit: 1", "mqtt.body_limit: input should be greater"),
        ("password: hunter2", "password goes with username; set both"),
        (f"{URL}, cert_file: /a", "cert_file and key_file go together"),
        ("url: mqtt://b, ca_file: /a", "ca_file, cert_file and key_file need TLS; write the url with mqtts://"),
        (f"{URL}, may_cause: true", "may_cause needs a broker that knows its users"),
        ("insecure: true", "mqtt.insecure: unknown setting"),
    ],
)
def test_refusals(tmp_path: Path, text: str, problem: str) -> None:
    """Each is refused with its field and a remedy, and no secret is echoed."""
    with pytest.raises(config.ConfigError) as caught:
        settings_of(tmp_path, text)
    assert problem in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("url: mqtt://broker, username: ci, password: x", ["mqtt.url: without TLS"]),
        ("url: mqtt://localhost, username: ci, password: x", []),
        (f"{URL}, username: ci, password: x", []),
        (URL, ["mqtt.username: not set"]),
        (f"{URL}, cert_file: /a, key_file: /b", []),
        (f"{URL}, username: ci, topics: ['#']", ["mqtt.topics: # subscribes to everything"]),
        ("", []),
    ],
)
def test_warnings(tmp_path: Path, text: str, warned: list[str]) -> None:
    """What is allowed but may surprise is one line each."""
    lines = [line for line in settings_of(tmp_path, text).warnings if line.startswith("mqtt")]
    assert len(lines) == len(warned)
    assert all(line.startswith(start) for line, start in zip(lines, warned, strict=True))
