"""The section `events`: what a source needs, where its secrets may come from, and what is refused with which remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import config
from config.event_sections import Events, EventSource
from daemon.core.model import Workload

TOKEN = "planted-token-of-24-char"
SECRET = "planted-secret-24-chars-"
SIGNING = "whsec_" + "cGxhbnRlZC1zaWduaW5nLWtleS0zMi1ieXRlcy0uLi4="


def settings_of(folder: Path, text: str, environ: dict[str, str] | None = None) -> config.Settings:
    path = folder / "lastgood.yaml"
    path.write_text(f"cluster: c\n{text}\n", encoding="utf-8")
    return config.load(path, environ or {})


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(config.ConfigError) as caught:
        settings_of(folder, text)
    return str(caught.value)


def secret(source: EventSource, name: str) -> str:
    value: Any = getattr(source, name)
    return str(value.get_secret_value())


def test_nothing_is_taken_without_sources(tmp_path: Path) -> None:
    """The section is off by default and warns of nothing."""
    events = settings_of(tmp_path, "").events
    assert dict(events.sources) == {}
    assert events.mappings == ()


def test_sources_of_each_kind(tmp_path: Path) -> None:
    """Each kind with its credential; nobody may cause action unless told; each vendor's own address is known."""
    sources = settings_of(
        tmp_path,
        f"""
events:
  sources:
    ci: {{kind: events, token: {TOKEN}}}
    hub: {{kind: github, secret: {SECRET}, api_token: planted-api-token, may_cause: true}}
    lab: {{kind: gitlab, signing_token: {SIGNING}, api_url: "https://gitlab.example/api/v4/"}}
    flux: {{kind: flux, secret: planted-secret-of-the-provider}}
    other: {{kind: flux, token: planted-token-of-the-provider}}
    canaries: {{kind: flagger, token: planted-token-of-flagger}}
""",
    ).events.sources
    assert secret(sources["ci"], "token") == TOKEN
    assert [source.may_cause for source in sources.values()] == [False, True, False, False, False, False]
    assert [source.vendor_url for source in sources.values()] == [
        None,
        "https://api.github.com",
        "https://gitlab.example/api/v4",
        None,
        None,
        None,
    ]


def test_secrets_from_files(tmp_path: Path) -> None:
    """Within the nested mapping too: as `<name>_file`, as `{file: …}`, and as a file in secrets_dir."""
    (tmp_path / "a").write_text(f"{TOKEN}\n", encoding="utf-8")
    (tmp_path / "b").write_text(f"{TOKEN}-of-the-hub\n", encoding="utf-8")
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "events.sources.lab.token").write_text(f"{SECRET}\n", encoding="utf-8")
    (folder / "events.sources.lab.signing_token").write_text(f"{SIGNING}\n", encoding="utf-8")
    sources = settings_of(
        tmp_path,
        f"""
secrets_dir: {folder}
events:
  sources:
    ci: {{kind: events, token_file: {tmp_path}/a}}
    hub: {{kind: github, secret: {{file: {tmp_path}/b}}}}
    lab: {{kind: gitlab}}
""",
    ).events.sources
    assert secret(sources["ci"], "token") == TOKEN
    assert secret(sources["hub"], "secret") == f"{TOKEN}-of-the-hub"
    assert secret(sources["lab"], "token") == SECRET
    assert secret(sources["lab"], "signing_token") == SIGNING


def test_a_variable_wins_over_a_file(tmp_path: Path) -> None:
    """A source's secret in the environment replaces the path in the file, and the other settings stay."""
    settings = settings_of(
        tmp_path,
        "events: {sources: {ci: {kind: events, token_file: /nowhere/at-all, may_cause: true}}}",
        {"LASTGOOD_EVENTS__SOURCES__CI__TOKEN": TOKEN},
    )
    assert secret(settings.events.sources["ci"], "token") == TOKEN
    assert settings.events.sources["ci"].may_cause


def test_mappings(tmp_path: Path) -> None:
    """In their order; a workload without its kind is a Deployment; `mqtt` is a source that needs no entry."""
    rules = settings_of(
        tmp_path,
        f"""
events:
  sources: {{ci: {{kind: events, token: {TOKEN}}}}}
  mappings:
    - {{source: ci, match: {{repository: shop/web, environment: production}}, workload: shop/web}}
    - {{source: mqtt, match: {{service: cart}}, workload: shop/StatefulSet/cart}}
    - {{match: {{service: search}}, workload: shop/search}}
""",
    ).events.mappings
    assert [rule.source for rule in rules] == ["ci", "mqtt", None]
    assert rules[0].match.pairs == (("repository", "shop/web"), ("environment", "production"))
    assert rules[0].workload == Workload(namespace="shop", kind="Deployment", name="web")
    assert rules[1].workload == Workload(namespace="shop", kind="StatefulSet", name="cart")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{kind: events, token: short}", "token is shorter than 16 characters; generate a longer one"),
        (f"{{kind: events, secret: {SECRET}}}", "secret does not prove a sender of kind events; set token"),
        (f"{{kind: github, token: {TOKEN}}}", "token does not prove a sender of kind github; set secret"),
        (f"{{kind: gitlab, secret: {SECRET}}}", "of kind gitlab; set token or signing_token"),
        (f"{{kind: gitlab, signing_token: {SECRET}}}", "signing_token is none; copy the whole whsec_"),
        (f"{{kind: events, token: {TOKEN}, api_token: x}}", "api_url and api_token are for kind github and gitlab"),
        (f"{{kind: events, token: {TOKEN}, anonymous: true}}", "anonymous goes with no credential"),
        ("{kind: events, anonymous: true, may_cause: true}", "may_cause needs a credential"),
        (f"{{kind: events, token: {TOKEN}, token_file: /x}}", "ci.token: is given twice or oddly"),
        ("{kind: events, token_file: /nowhere/x}", "ci.token: its file cannot be read: No such file or directory"),
        (f"{{kind: events, tokn: {TOKEN}}}", "ci.tokn: unknown setting; did you mean token?"),
        (f"{{kind: flagger, secret: {SECRET}}}", "secret does not prove a sender of kind flagger; set token"),
        (f"{{kind: flagger, token: {TOKEN}, may_cause: true}}", "may_cause is not for kind flagger"),
        (f"{{kind: flux, signing_token: {SECRET}}}", "of kind flux; set secret or token"),
        (f"{{kind: flux, secret: {SECRET}, api_token: x}}", "api_url and api_token are for kind github and gitlab"),
        (
            "{kind: jenkins}",
            "ci.kind: input should be 'events', 'github', 'gitlab', 'flux' or 'flagger'; choose one of",
        ),
        ("{}", "ci.kind: is required"),
        ("[]", "events.sources.ci: "),
    ],
)
def test_a_source_that_cannot_be(tmp_path: Path, source: str, said: str) -> None:
    """Refused with the remedy, and without the secret that was given."""
    text = refusal(tmp_path, f"events: {{sources: {{ci: {source}}}}}")
    assert text.startswith("events.sources.ci")
    assert said in text
    assert "planted" not in text


@pytest.mark.parametrize("name", ["CI", "a.b", "a b", "mqtt", "alertmanager", "x" * 64])
def test_a_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    """Names stand in addresses, variables and metrics."""
    assert "events.sources: holds" in refusal(
        tmp_path, f"events: {{sources: {{'{name}': {{kind: events, token: {TOKEN}}}}}}}"
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{match: {}, workload: shop/web}", "events.mappings.0.match: matches every event"),
        (
            "{match: {repositry: a}, workload: shop/web}",
            "mappings.0.match.repositry: unknown setting; did you mean repository?",
        ),
        ("{match: {service: a}, workload: web}", "events.mappings.0.workload: is no workload; write it as namespace/n"),
        ("{match: {service: a}, workload: 5}", "events.mappings.0.workload: is no text; write it as"),
        ("{match: {service: a}}", "events.mappings.0.workload: is required"),
        ("{match: {service: ''}, workload: shop/web}", "events.mappings.0.match.service: "),
        ("{source: nobody, match: {service: a}, workload: shop/web}", "events.mappings.0.source: names no source"),
    ],
)
def test_a_mapping_that_cannot_be(tmp_path: Path, rule: str, said: str) -> None:
    """Refused with the path and the remedy."""
    assert said in refusal(tmp_path, f"events: {{mappings: [{rule}]}}")


def test_beyond_loopback_a_source_needs_its_credential(tmp_path: Path) -> None:
    """Refused, unless `anonymous: true` says that it is meant; on loopback a warning is enough."""
    server = f"server: {{listen: ':9095', webhook_tokens: {{am: {TOKEN}}}}}\n"
    bare = "events: {sources: {lab: {kind: gitlab}}}"
    said = "events.sources.lab: takes events from everybody beyond loopback; set token or signing_token, or anonymous: true"
    assert refusal(tmp_path, server + bare) == said
    assert settings_of(tmp_path, f"{server}events: {{sources: {{lab: {{kind: gitlab, anonymous: true}}}}}}").warnings
    warned = [line for line in settings_of(tmp_path, bare).warnings if line.startswith("events")]
    assert warned == ["events.sources.lab: has no credential; whoever reaches the address may send deployment events"]


def test_a_pipeline_cannot_command(tmp_path: Path) -> None:
    """A source's credential that is also an operator's token is refused."""
    text = refusal(
        tmp_path,
        f"server: {{operators: {{anna: {TOKEN}}}}}\nevents: {{sources: {{ci: {{kind: events, token: {TOKEN}}}}}}}",
    )
    assert text == "events.sources.ci: shares its credential with an operator; pipelines must not be able to command"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Neither `repr` nor a dump nor the fingerprint holds one, and the log's redaction knows each."""
    settings = settings_of(
        tmp_path,
        f"""
events:
  sources:
    hub: {{kind: github, secret: {SECRET}, api_token: planted-api-token}}
    lab: {{kind: gitlab, token: {TOKEN}, signing_token: {SIGNING}}}
  mappings: [{{match: {{service: a}}, workload: shop/web}}]
""",
    )
    assert settings.secrets == {SECRET, TOKEN, SIGNING, "planted-api-token"}
    for shown in (repr(settings), json.dumps(settings.model_dump(mode="json")), settings.fingerprint):
        assert not [secret for secret in settings.secrets if secret in shown]


def test_each_source_has_a_credential_of_its_own() -> None:
    """With one shared, a permission of either would be a permission of both."""
    sources = {name: {"kind": "events", "token": TOKEN} for name in ("ci", "other")}
    with pytest.raises(ValidationError, match=r"sources\.other shares its credential with ci"):
        Events.model_validate({"sources": sources})
