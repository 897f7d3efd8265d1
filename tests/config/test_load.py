"""Good configurations: what is laid over what, and what the daemon gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

import config
from config import sources
from config.durations import render
from daemon.core.model import Mode, Severity, Workload
from daemon.core.policy import DEFAULT_SIGNALS, SATURATION_SIGNALS, Policy, Route, SignalKind

EXAMPLE = Path(__file__).parents[2] / "deploy" / "lastgood.example.yaml"
KEY = "0123456789abcdef0123456789abcdef"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file and give its path."""

    def _write(text: str) -> Path:
        path = tmp_path / "lastgood.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def test_cluster_is_enough() -> None:
    """With only the cluster's name everything stands at the core's defaults."""
    settings = config.load(None, {"LASTGOOD_CLUSTER": "prod"})
    assert settings.policy == Policy(cluster="prod")
    assert settings.policy.default_mode is Mode.OBSERVE


def test_example_file_is_the_defaults() -> None:
    """The example file loads without a problem, and beyond its examples it changes no default."""
    settings = config.load(EXAMPLE, {})
    plain = dataclasses.replace(settings.policy, signals=DEFAULT_SIGNALS)
    assert plain == Policy(cluster="production")
    assert settings.policy.modes == (), "who copies the example must not arm anything"
    assert settings.server.listen == "127.0.0.1:9095"


def _uncommented(section: str) -> dict[str, str]:
    """`name: text` of the settings spelled out in comments below `section:` in the example."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{section}:"))
    found = {}
    for line in lines[start + 1 :]:
        if line and not line.startswith(" "):
            break
        name, _, text = line.strip().removeprefix("# ").partition(": ")
        if line.startswith("  # ") and name.replace("_", "").isalnum() and " " not in name:
            found[name] = text.partition("  #")[0].strip()
    return found


@pytest.mark.parametrize(
    "field",
    [item for item in dataclasses.fields(Policy) if isinstance(item.default, timedelta | int | float | str)],
    ids=lambda item: item.name,
)
def test_example_spells_each_policy_default(field: dataclasses.Field[object]) -> None:
    """Each plain default of the policy stands in the example's comments with its true value."""
    written = _uncommented("policy")[field.name]
    default = field.default
    if isinstance(default, timedelta):
        expected = render(default)
        assert written == expected
    else:
        assert yaml.safe_load(written) == default


def test_every_setting_is_in_the_example() -> None:
    """No setting is missing from the example file."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for name, field in config.Settings.model_fields.items():
        assert f"{name}:" in text
        for inner in getattr(field.annotation, "model_fields", {}):
            assert f"{inner}:" in text or f"{inner}_file:" in text, f"{name}.{inner}"
    for item in dataclasses.fields(Policy):
        assert f"{item.name}:" in text, item.name


def test_friendly_policy(write: Write) -> None:
    """Maps become the core's pairs, texts its workloads and durations, names its enums."""
    path = write("""
cluster: c
policy:
  soak: 1h30m
  countdown: 0
  modes: [{namespaces: [shop], labels: {team: a, tier: "1"}, mode: auto}]
  mappings: [{labels: {alertname: Slow}, workload: shop/Deployment/web}]
  routes: {high: [page], low: [announce]}
  severities: {sev1: critical}
  paging: instead
""")
    policy = config.load(path, {}).policy
    assert policy.soak == timedelta(minutes=90)
    assert policy.countdown == timedelta(0)
    assert policy.modes[0].mode is Mode.AUTO
    assert policy.modes[0].labels == (("team", "a"), ("tier", "1"))
    assert policy.mappings[0].workload == Workload(namespace="shop", kind="Deployment", name="web")
    assert policy.routes.of(Severity.HIGH) == (Route.PAGE,)
    assert policy.routes.of(Severity.CRITICAL) == (Route.PAGE, Route.ANNOUNCE)
    assert policy.severity_of("sev1") is Severity.CRITICAL


def test_signals_are_laid_over_the_defaults(write: Write) -> None:
    """A default keeps its query when only a threshold is given; null drops one; a new name adds one."""
    path = write("""
cluster: c
policy:
  signals:
    latency_p95: {healthy_below: 0.5}
    latency_p99: null
    cpu: {kind: cpu, query: 'x{pod=~"$pods"}'}
""")
    signals = {rule.name: rule for rule in config.load(path, {}).policy.signals}
    assert list(signals) == ["traffic", "error_ratio", "latency_p95", "cpu"]
    assert signals["latency_p95"].query == DEFAULT_SIGNALS[2].query
    assert signals["latency_p95"].healthy_below == 0.5
    assert signals["cpu"].kind is SignalKind.CPU


def test_saturation_is_measured_where_it_is_named(write: Write) -> None:
    """`cpu` and `memory` need no query; without their names they are not measured, and thresholds are laid over them, too."""
    path = write("cluster: c\npolicy: {signals: {cpu: {}, memory: {trigger_above: 0.95}}}")
    *defaults, cpu, memory = config.load(path, {}).policy.signals
    assert tuple(defaults) == DEFAULT_SIGNALS
    assert (cpu, memory) == (SATURATION_SIGNALS[0], dataclasses.replace(SATURATION_SIGNALS[1], trigger_above=0.95))


def test_environment_changes_one_leaf(write: Write) -> None:
    """A variable overrides its own leaf and leaves the file's neighbours alone; empty variables count as unset."""
    path = write("cluster: c\npolicy: {soak: 20m, hold: 1m}\nlog: {level: warning}")
    environ = {"LASTGOOD_POLICY__SOAK": "5m", "LASTGOOD_LOG__FORMAT": "json", "LASTGOOD_CLUSTER": "", "HOME": "/x"}
    settings = config.load(path, environ)
    assert settings.policy.soak == timedelta(minutes=5)
    assert settings.policy.hold == timedelta(minutes=1)
    assert (settings.log.level, settings.log.format) == ("warning", "json")
    assert settings.cluster == "c"


def test_environment_gives_lists_and_signal_leaves() -> None:
    """Lists are JSON (or texts with commas where they hold names), and one leaf of one signal can be set."""
    settings = config.load(
        None,
        {
            "LASTGOOD_CLUSTER": "c",
            "LASTGOOD_POLICY__MODES": '[{"namespaces": ["shop"], "mode": "auto"}]',
            "LASTGOOD_POLICY__SIGNALS__LATENCY_P99__TRIGGER_ABOVE": "0.7",
            "LASTGOOD_ALERTMANAGER__URLS": "http://a:9093, http://b:9093/",
            "LASTGOOD_POLICY__ROUTES__LOW": '["announce"]',
        },
    )
    assert settings.policy.modes[0].namespaces == ("shop",)
    assert settings.policy.signals[3].trigger_above == 0.7
    assert settings.alertmanager.urls == ("http://a:9093", "http://b:9093")
    assert settings.policy.routes.low == (Route.ANNOUNCE,)


def test_service_links_are_no_settings() -> None:
    """What Kubernetes injects beside a Service named lastgood is ignored, as are the command line's own variables."""
    environ = {
        "LASTGOOD_CLUSTER": "c",
        "LASTGOOD_SERVICE_HOST": "10.0.0.1",
        "LASTGOOD_SERVICE_PORT": "9095",
        "LASTGOOD_SERVICE_PORT_HTTP": "9095",
        "LASTGOOD_PORT": "tcp://10.0.0.1:9095",
        "LASTGOOD_PORT_9095_TCP": "tcp://10.0.0.1:9095",
        "LASTGOOD_PORT_9095_TCP_PROTO": "tcp",
        "LASTGOOD_PORT_9095_TCP_PORT": "9095",
        "LASTGOOD_PORT_9095_TCP_ADDR": "10.0.0.1",
        "LASTGOOD_METRICS_PORT": "tcp://10.0.0.2:9095",
        **dict.fromkeys(sources.RESERVED, "x"),
    }
    assert config.load(None, environ).cluster == "c"


def test_empty_sections_are_defaults(write: Write) -> None:
    """A section whose lines are all comments, and a key without a value, mean "not set"."""
    path = write("cluster: c\npolicy:\n  routes:\nlog:\nserver:\n  listen:\n")
    assert config.load(path, {}) == config.load(None, {"LASTGOOD_CLUSTER": "c"})


def test_settings_are_frozen() -> None:
    """Nothing in the settings can be changed after loading."""
    settings = config.load(None, {"LASTGOOD_CLUSTER": "c"})
    with pytest.raises(ValueError, match="frozen"):
        settings.cluster = "d"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        settings.log.level = "debug"  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.server.operators["eve"] = None  # type: ignore[index]


def test_fingerprint_follows_the_settings_and_not_the_spelling(write: Write) -> None:
    """Equal settings have equal fingerprints however written; a changed leaf changes it, a secret does not."""
    one = config.load(write("cluster: c\npolicy: {soak: 90m}"), {})
    same = config.load(None, {"LASTGOOD_CLUSTER": "c", "LASTGOOD_POLICY__SOAK": "1h30m"})
    other = config.load(None, {"LASTGOOD_CLUSTER": "c"})
    assert one.fingerprint == same.fingerprint != other.fingerprint
    keys = [
        config.load(None, {"LASTGOOD_CLUSTER": "c", "LASTGOOD_PAGERDUTY__ROUTING_KEY": key}) for key in (KEY, KEY[::-1])
    ]
    assert keys[0].fingerprint == keys[1].fingerprint != other.fingerprint
    assert int(one.fingerprint, 16) == float(int(one.fingerprint, 16))


def test_armed_and_mute_is_warned_of(write: Write) -> None:
    """Arming without a pager, arming kube-system, and arming everything are allowed but told."""
    path = write("""
cluster: c
policy:
  default_mode: approve
  modes: [{namespaces: [kube-system], mode: auto}, {mode: auto}]
  signals: {traffic: null}
""")
    warnings = "\n".join(config.load(path, {}).warnings)
    for part in ("default_mode", "modes.0: arms kube-system", "modes.1: has no selector", "nobody is paged", "traffic"):
        assert part in warnings


def test_nothing_to_warn_of() -> None:
    """With every outside system set there is no warning."""
    environ = {
        "LASTGOOD_CLUSTER": "c",
        "LASTGOOD_PAGERDUTY__ROUTING_KEY": KEY,
        "LASTGOOD_SLACK__BOT_TOKEN": "xoxb-123456",
        "LASTGOOD_SLACK__CHANNEL": "#deploys",
        "LASTGOOD_PROMETHEUS__URL": "http://p:9090",
        "LASTGOOD_ALERTMANAGER__URLS": "http://a:9093",
        "LASTGOOD_SERVER__WEBHOOK_TOKENS__ALERTMANAGER": "a-long-token",
    }
    assert config.load(None, environ).warnings == ()


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [
        ("127.0.0.1:9095", "127.0.0.1", 9095, True),
        ("[::1]:0", "::1", 0, True),
        ("localhost:80", "localhost", 80, True),
        (":9095", "", 9095, False),
        ("0.0.0.0:9095", "0.0.0.0", 9095, False),
    ],
)
def test_listen(listen: str, host: str, port: int, loopback: bool) -> None:
    """Addresses are taken apart, IPv6 too."""
    environ = {"LASTGOOD_CLUSTER": "c", "LASTGOOD_SERVER__LISTEN": listen, "LASTGOOD_SERVER__WEBHOOK_ANONYMOUS": "true"}
    server = config.load(None, environ).server
    assert (server.host, server.port, server.is_loopback) == (host, port, loopback)


def test_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `environ` the process' own variables count."""
    monkeypatch.setenv("LASTGOOD_CLUSTER", "from-process")
    assert config.load(None).cluster == "from-process"
