"""Bad configurations: each is refused with the field's path and a remedy, and nothing given is echoed."""

from __future__ import annotations

from pathlib import Path

import pytest

import config
from config import document

PLANTED = "hunter2-s3cr3t-value"
TOKEN = "t" * 16
QUERY = "x{pod=~'$pods'}"


def refusal(tmp_path: Path, text: str | bytes | None = None, environ: dict[str, str] | None = None) -> str:
    """What `load` says to the file's text and the environment; fails when it says nothing."""
    path = None
    if text is not None:
        path = tmp_path / "lastgood.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(config.ConfigError) as caught:
        config.load(path, environ or {})
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("", "cluster: is required; set it in the file or as LASTGOOD_CLUSTER", id="empty"),
        pytest.param("cluster: 12", "cluster: input should be a valid string; quote it", id="cluster-number"),
        pytest.param("cluster: a/b", "cluster: string should match", id="cluster-slash"),
        pytest.param("{cluster: c, polcy: {}}", "polcy: unknown setting; did you mean policy?", id="unknown"),
        pytest.param(
            "{cluster: c, log: {levle: info}}", "log.levle: unknown setting; did you mean level?", id="nested"
        ),
        pytest.param("{cluster: c, log: {level: loud}}", "log.level: input should be 'debug'", id="choice"),
        pytest.param("{cluster: c, log: x}", "log: input should be a valid dictionary", id="section-text"),
        pytest.param("{cluster: c, policy: []}", "policy: is no mapping; write", id="policy-list"),
        pytest.param("{cluster: c, lease: {name: A B}}", "lease.name: is no name of an object", id="lease-name"),
        pytest.param("{cluster: c, lease: {namespace: a.b}}", "lease.namespace: is no name of a", id="lease-space"),
        pytest.param("{cluster: c, lease: {duration: 1500ms}}", "lease: duration is no whole number", id="lease-whole"),
        pytest.param("{cluster: c, lease: {renew_deadline: 13s}}", "two could act at the same time", id="lease-two"),
        pytest.param("{cluster: c, lease: {retry: 6s}}", "renew_deadline is less than twice retry", id="lease-retry"),
        pytest.param("{cluster: c, limits: {inbox: 0}}", "limits.inbox: input should be greater", id="limit-zero"),
        pytest.param(
            "{cluster: c, limits: {inbox: 1.5}}", "limits.inbox: input should be a valid integer", id="fraction"
        ),
        pytest.param("{cluster: c, limits: {drain: 20}}", "limits.drain: has no unit; write it like", id="drain"),
        pytest.param(
            "{cluster: c, state_dir: /" + "x" * 120 + "}", "state_dir: is too long for a Unix socket", id="socket"
        ),
        pytest.param("{cluster: c, server: {listen: nowhere}}", "server.listen: is no address; write", id="listen"),
        pytest.param("{cluster: c, server: {listen: '::1:80'}}", "server.listen: is no address; write", id="bare-ipv6"),
        pytest.param("{cluster: c, server: {listen: 'a:99999'}}", "server.listen: is no address; write", id="port"),
        pytest.param("{cluster: c, server: {listen: ':80'}}", "server: listens beyond loopback without", id="open"),
        pytest.param("{cluster: c, server: {body_limit: 1}}", "server.body_limit: input should be greater", id="body"),
        pytest.param(
            "{cluster: c, server: {operators: {anna: short}}}",
            "server.operators: holds a token shorter than 16",
            id="weak",
        ),
        pytest.param(
            f"{{cluster: c, server: {{operators: {{a: {TOKEN}, b: {TOKEN}}}}}}}",
            "server.operators: gives two people the same token",
            id="shared-token",
        ),
        pytest.param(
            f"{{cluster: c, server: {{operators: {{a: {TOKEN}}}, webhook_tokens: {{am: {TOKEN}}}}}}}",
            "server: an operator token is also a webhook credential",
            id="webhook-commands",
        ),
        pytest.param(
            f"{{cluster: c, server: {{operators: {{'a b': {TOKEN}}}}}}}", "holds something that is no name", id="person"
        ),
        pytest.param(
            "{cluster: c, policy: {suspend_for: 20m, gitops: [{do: flux-suspend}]}}",
            "policy.suspend_for: is not longer than converge_deadline and verify_deadline together (25m)",
            id="suspend-for",
        ),
        pytest.param("{cluster: c, prometheus: {url: 'ftp://x'}}", "prometheus.url: is no URL; write", id="scheme"),
        pytest.param(
            "{cluster: c, prometheus: {url: 'http://[x'}}", "prometheus.url: is no URL; write", id="bad-ipv6-url"
        ),
        pytest.param("{cluster: c, prometheus: {url: 'http://x?a=b'}}", "prometheus.url: holds a query", id="query"),
        pytest.param(
            "{cluster: c, prometheus: {url: 'http://u:p@x'}}", "prometheus.url: holds credentials", id="userinfo"
        ),
        pytest.param(
            "{cluster: c, prometheus: {headers: {X-Token: a}}}", "put it under secret_headers", id="secret-header"
        ),
        pytest.param("{cluster: c, prometheus: {headers: {'a b': c}}}", "is no header name", id="header-name"),
        pytest.param(
            '{cluster: c, prometheus: {headers: {X-A: "a\\nb"}}}', "holds a control character", id="header-value"
        ),
        pytest.param("{cluster: c, alertmanager: {urls: [x]}}", "alertmanager.urls.0: is no URL; write", id="urls"),
        pytest.param(
            "{cluster: c, slack: {bot_token: xoxb-1}}", "slack: bot_token and channel go together", id="channel"
        ),
        pytest.param("{cluster: c, slack: {webhook_url: abc}}", "slack: webhook_url is no URL", id="webhook-url"),
        pytest.param(
            "{cluster: c, slack: {bot_token: a, channel: b, webhook_url: 'https://x'}}",
            "slack: both bot_token",
            id="both",
        ),
        pytest.param(
            "{cluster: c, slack: {bot_token: a, channel: b, app_token: xapp-1, signing_secret: " + "s" * 32 + "}}",
            "slack: both signing_secret and app_token are set; keep app_token for",
            id="both-doors",
        ),
        pytest.param(
            "{cluster: c, slack: {webhook_url: 'https://x', app_token: xapp-1}}",
            "those need bot_token; set it",
            id="deaf",
        ),
        pytest.param(
            "{cluster: c, slack: {bot_token: a, channel: b, app_token: xoxb-1}}",
            "slack: app_token is no app-level token; make one",
            id="bot-as-app",
        ),
        pytest.param(
            "{cluster: c, slack: {bot_token: a, channel: b, signing_secret: abc}}",
            "slack: signing_secret is shorter than 16 characters; copy it",
            id="signing-secret",
        ),
        pytest.param(
            "{cluster: c, kubernetes: {url: 'http://x', in_cluster: true}}",
            "kubernetes: more than one of",
            id="two-ways",
        ),
        pytest.param("{cluster: c, kubernetes: {token: abc}}", "kubernetes: token and ca_file go with url", id="token"),
        pytest.param(
            "{cluster: c, kubernetes: {in_cluster: true, context: a}}", "kubernetes: context is", id="context"
        ),
    ],
)
def test_settings(tmp_path: Path, text: str, line: str) -> None:
    """Each bad setting is refused in one line with its path and a remedy."""
    said = refusal(tmp_path, text)
    assert line in said
    assert "; " in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        ("cluster: c", "policy: holds the cluster's name; write `cluster` at the top level"),
        ("soak: 15", "policy.soak: has no unit; write it like 30s"),
        ("soak: fortnight", "policy.soak: is no duration; write it like 30s"),
        ("soak: 0", "policy.soak: must be longer than 0"),
        ("soak: -5m", "policy.soak: is negative"),
        ("countdown: -1s", "policy.countdown: is negative"),
        ("soka: 5m", "policy.soka: unknown setting; did you mean soak?"),
        ("default_mode: off", "policy.default_mode: input should be 'observe', 'approve' or 'auto'; choose one"),
        ("act_without_control: 7", "policy.act_without_control: input should be a valid boolean"),
        ("act_without_control: maybe", "policy.act_without_control: input should be a valid boolean"),
        ("blame_threshold: 1.5", "policy.blame_threshold: is outside 0..1"),
        ("blame_margin: .nan", "policy.blame_margin: input should be a finite number"),
        ("min_traffic_rate: .inf", "policy.min_traffic_rate: input should be a finite number"),
        ("min_requests: -1", "policy.min_requests: is negative"),
        ("rollbacks_per_cluster_hour: lots", "policy.rollbacks_per_cluster_hour: input should be a valid integer"),
        ("persistence_bad: 6", "policy.persistence_bad: is above persistence_of"),
        ("persistence_bad: 0", "policy.persistence_bad: is below 1"),
        ("sample_interval: 20m", "policy.sample_interval: 20m is longer than soak (15m)"),
        ("hold: 1h", "policy.hold: 1h is longer than verify_deadline (15m)"),
        ("countdown: 1h", "policy.countdown: 1h is longer than approve_deadline (15m)"),
        ("soak: 2d", "policy.soak: 2d is longer than soak_low_traffic (1d)"),
        ("decide_deadline: 45s", "policy.decide_deadline: is shorter than persistence_bad samples take (1m)"),
        ("severity_label: a-b", "policy.severity_label: is no label name"),
        ("severities: {Critical: critical}", "policy.severities: holds a capital letter"),
        ("severities: {a: loud}", "policy.severities.0.1: input should be 'critical', 'high' or 'low'"),
        ("own_workload: web", "policy.own_workload: is no workload; write it as namespace/name"),
        ("paging: besides", "policy.paging: input should be 'beside' or 'instead'"),
        ("routes: {critical: [pager]}", "policy.routes.critical.0: input should be 'page' or 'announce'"),
        ("routes: {critcal: []}", "policy.routes.critcal: unknown setting; did you mean critical?"),
        ("modes: {mode: auto}", "policy.modes: input should be a valid tuple; write a list"),
        ("modes: [{namespaces: [a]}]", "policy.modes.0.mode: is required"),
        (
            "modes: [{mode: auto, namespace: [a]}]",
            "policy.modes.0.namespace: unknown setting; did you mean namespaces?",
        ),
        ("modes: [{mode: auto, labels: {v: 1.10}}]", "policy.modes.0.labels: a value is no text; quote it"),
        ("modes: [{mode: auto, labels: [a]}]", "policy.modes.0.labels: is no mapping"),
        ("modes: [{mode: auto, namespaces: [Shop]}]", "policy.modes.0.namespaces: holds no Kubernetes name"),
        ("modes: [{mode: auto, names: ['']}]", "policy.modes.0.names: holds no Kubernetes name"),
        ("mappings: [{labels: {a: b}, workload: shop/web}]", "policy.mappings.0.workload: is no workload; write it as"),
        ("mappings: [{labels: {a: b}, workload: 5}]", "policy.mappings.0.workload: is no text; write it as"),
        ("mappings: [{labels: {}, workload: s/Deployment/w}]", "policy.mappings.0.labels: is empty and would match"),
        ("approvers: [{names: [web]}]", "policy.approvers.0.slack: is required"),
        ("approvers: [{slack: []}]", "policy.approvers.0.slack: is empty; name at least one member"),
        ("approvers: [{slack: [anna]}]", "policy.approvers.0.slack.0: is no member id; copy it"),
        ("approvers: [{slack: ['slack:U0123ABCD']}]", "policy.approvers.0.slack.0: is no member id; copy it"),
        ("approvers: [{slack: [U0123ABCD], names: ['']}]", "policy.approvers.0.names: holds no Kubernetes name"),
        ("approvers: [{slak: [U0123ABCD]}]", "policy.approvers.0.slak: unknown setting; did you mean slack?"),
        ("signals: [a]", "policy: `signals` is no mapping"),
        ("signals: {x: 5}", "policy.signals.x: input should be a valid dictionary"),
        ("signals: {x: {kind: cpu}}", "policy.signals.x.query: is required"),
        ("signals: {traffic: {kin: cpu}}", "policy.signals.traffic.kin: unknown setting; did you mean kind?"),
        ("signals: {x: {kind: cpu, query: up}}", "policy.signals.x.query: holds no $pods"),
        ("signals: {x: {kind: cpu, query: '$pods $pod'}}", "policy.signals.x.query: holds an unknown $name"),
        ("signals: {X-1: {kind: cpu, query: $pods}}", "policy.signals.X-1: is no signal name"),
        ("signals: {error_ratio: {trigger_above: 5}}", "policy.signals.error_ratio.trigger_above: is out of range"),
        ("signals: {latency_p95: {healthy_below: -1}}", "policy.signals.latency_p95.healthy_below: is out of range"),
        ("signals: {traffic: {healthy_below: 1}}", "policy.signals.traffic.healthy_below: traffic has no threshold"),
        (
            "signals: {latency_p95: {healthy_below: 2, trigger_above: 1}}",
            "policy.signals.latency_p95.healthy_below: is above trigger_above",
        ),
    ],
)
def test_policy(tmp_path: Path, policy: str, line: str) -> None:
    """Each bad policy is refused with the path of the setting, whatever else stands in it."""
    said = refusal(tmp_path, f"cluster: c\npolicy:\n  {policy}\n")
    assert line in said
    assert all("; " in each for each in said.splitlines())


def test_all_problems_at_once(tmp_path: Path) -> None:
    """One run tells every problem, one per line."""
    said = refusal(tmp_path, "policy: {soak: 5, modes: [{mode: x}]}\nlog: {level: 1}\nnope: 1")
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "cluster",
        "policy.modes.0.mode",
        "policy.soak",
        "log.level",
        "nope",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(b"cluster: c\ncluster: d\n", "yaml:2:1: a key stands twice; remove one", id="duplicate"),
        pytest.param(
            b"cluster: c\nlog: {level: info, level: debug}\n", "yaml:2:20: a key stands twice", id="nested-twice"
        ),
        pytest.param(b"cluster: c\n5: d\n", "yaml:2:1: a key is no text; quote it", id="number-key"),
        pytest.param(b"- a\n", "is no mapping; write `cluster: NAME`", id="list"),
        pytest.param(b"just text\n", "is no mapping; write `cluster: NAME`", id="text"),
        pytest.param(b"cluster: [a\n", "yaml:2:1: expected ',' or ']'", id="syntax"),
        pytest.param(b"cluster: c\n\tlog: d\n", "yaml:2:1: found character '\\t'", id="tab"),
        pytest.param(b"a: b\n---\nc: d\n", "yaml:2:1: but found another document", id="two-documents"),
        pytest.param(b"cluster: \xff\n", "byte 9 is not UTF-8; save the file as UTF-8", id="latin1"),
        pytest.param(b"cluster: a\x00b\n", "is no YAML that can be read; look for control characters", id="nul"),
        pytest.param(b"a: " + b"[" * 5000, "is no YAML that can be read", id="deep"),
        pytest.param(b"a: " + b"9" * 5000, "is no YAML that can be read", id="huge-number"),
        pytest.param(b"a: !!python/object:os.system {}\n", "could not determine a constructor", id="python-tag"),
        pytest.param(
            b"#" * (document.FILE_BYTES_MAX + 1), "larger than 1048576 bytes; is this the right file?", id="large"
        ),
    ],
)
def test_files(tmp_path: Path, text: bytes, line: str) -> None:
    """A file that is no good YAML mapping is refused in one line with its place and a remedy."""
    said = refusal(tmp_path, text)
    assert line in said
    assert "; " in said
    assert "lastgood.yaml" in said
    assert len(said.splitlines()) == 1


def test_only_true_and_false_are_booleans(tmp_path: Path) -> None:
    """`no` and `12:30` stay texts, as YAML 1.2 has it."""
    path = tmp_path / "f.yaml"
    path.write_text("a: no\nb: 12:30\nc: true\nd: 2026-01-01\ne: 010\nf: -7\n", encoding="utf-8")
    assert document.read(path) == {"a": "no", "b": "12:30", "c": True, "d": "2026-01-01", "e": "010", "f": -7}


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_no_file(tmp_path: Path, kind: str) -> None:
    """A missing file and a folder in its place are refused, not ignored."""
    path = tmp_path / "nothing.yaml" if kind == "missing" else tmp_path
    with pytest.raises(config.ConfigError, match=r": (No such file|Is a) directory.*; name an existing|No such file"):
        config.load(path, {})


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"LASTGOOD_NOPE": "1"},
            "nope: unknown setting; deploy/lastgood.example.yaml shows every setting (set by LASTGOOD_NOPE)",
        ),
        ({"LASTGOOD_POLCY__SOAK": "1m"}, "polcy: unknown setting; did you mean policy? (set by LASTGOOD_POLCY__SOAK)"),
        ({"LASTGOOD_SERVER_PORT": "9095"}, "server_port: unknown setting; "),
        ({"LASTGOOD_SERVER__PORT": "9095"}, "server.port: unknown setting; "),
        (
            {"LASTGOOD_POLICY__SOKA": "1m"},
            "policy.soka: unknown setting; did you mean soak? (set by LASTGOOD_POLICY__SOKA)",
        ),
        ({"LASTGOOD_POLICY__SOAK": "5"}, "policy.soak: has no unit; "),
        (
            {"LASTGOOD_POLICY__MODES": "[{broken"},
            "policy.modes: input should be a valid tuple; write a list; in the env",
        ),
        ({"LASTGOOD_LOG": "x", "LASTGOOD_LOG__LEVEL": "info"}, "LASTGOOD_LOG__LEVEL: contradicts another variable"),
        ({"LASTGOOD_LOG__LEVEL": "info", "lastgood_log__level": "info"}, "lastgood_log__level: contradicts another"),
        ({"LASTGOOD_SECRETS_DIR": "/nonexistent"}, "secrets_dir: No such file or directory; name an existing"),
        ({"LASTGOOD___": "x"}, "(set by LASTGOOD___)"),
    ],
)
def test_environment(tmp_path: Path, environ: dict[str, str], line: str) -> None:
    """Unknown and bad variables are refused by the setting's path and the variable's name, top-level ones too."""
    assert line in refusal(tmp_path, None, {"LASTGOOD_CLUSTER": "c", **environ})


@pytest.mark.parametrize(
    "text",
    [
        f"pagerduty: {{routing_key: [{PLANTED}]}}",
        f"pagerduty: {{routing_key_file: {PLANTED}}}",
        f"pagerduty: {{routing_key_file: /{PLANTED}}}",
        f"pagerduty: {{routing_key: {PLANTED}, routing_key_file: /{PLANTED}}}",
        f"pagerduty: {{routing_key:{PLANTED}}}",
        f"pagerduty: {PLANTED}",
        f"pagerduty: [{PLANTED}]",
        f"slack: {{bot_token: {PLANTED}}}",
        f'slack: {{webhook_url: "{PLANTED}"}}',
        f"slack: {{signing_secret: {PLANTED}, app_token: {PLANTED}, bot_token: a, channel: b}}",
        f"slack: {{app_token: {PLANTED}, bot_token: a, channel: b}}",
        f'slack: {{bot_token: "{PLANTED}\\n", channel: a}}',
        f"server: {{operators: {{anna: {PLANTED}, ben: {PLANTED}}}}}",
        f"server: {{operators: {PLANTED}}}",
        f"server: {{listen: {PLANTED}}}",
        f"server: {{webhook_tokens: {{a: {PLANTED}}}, operators: {{anna: {PLANTED}}}}}",
        f"prometheus: {{url: 'http://user:{PLANTED}@host'}}",
        f"prometheus: {{headers: {{Authorization: {PLANTED}}}}}",
        f"log: {{level: {PLANTED}}}",
        f"limits: {{inbox: {PLANTED}}}",
        f"policy: {{soak: {PLANTED}}}",
        f"policy: {{paging: {PLANTED}}}",
        f"policy: {{modes: [{PLANTED}]}}",
        f"slack: {{bot_token: *{PLANTED}}}",
        f"slack: {{bot_token: !{PLANTED} x}}",
        f"slack: {{bot_token: %{PLANTED}",
        f'slack: {{bot_token: "{PLANTED}',
        f"slack: {{? [{PLANTED}] : x}}",
        f"{PLANTED}: {{a: 1}}: b",
    ],
)
def test_nothing_given_is_echoed(tmp_path: Path, text: str) -> None:
    """A secret, even one in a wrong place, is in no message: not in `str`, `repr` or the exception's chain."""
    assert PLANTED not in refusal(tmp_path, f"cluster: c\n{text}\n")


def test_hand_built_settings_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load` looks at the environment; otherwise a variable LOG of some other program would be read."""
    monkeypatch.setenv("LOG", "x")
    monkeypatch.setenv("STATE_DIR", "/y")
    assert config.Settings(cluster="c").state_dir == Path("/var/lib/lastgood")


def test_unreadable_file(tmp_path: Path) -> None:
    """A dangling link is told like a missing file."""
    link = tmp_path / "lastgood.yaml"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(config.ConfigError, match="No such file or directory; name an existing, readable file"):
        config.load(link, {})
