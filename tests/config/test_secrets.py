"""Secrets: given as value, file or folder; read anew at every load; shown nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import config

KEY = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


def settings_of(tmp_path: Path, text: str = "", **environ: str) -> config.Settings:
    """Load `text` (below a cluster) and LASTGOOD_ variables."""
    path = tmp_path / "lastgood.yaml"
    path.write_text(f"cluster: c\n{text}\n", encoding="utf-8")
    return config.load(path, {f"LASTGOOD_{name}": value for name, value in environ.items()})


def mount(folder: Path, generation: int, files: dict[str, str]) -> None:
    """Write `files` as kubelet mounts a Secret: a dated folder, `..data` swapped to it, and links through `..data`."""
    dated = folder / f"..2026_{generation}"
    dated.mkdir(parents=True)
    for name, content in files.items():
        (dated / name).write_text(content, encoding="utf-8")
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..new").symlink_to(dated.name)
    (folder / "..new").rename(folder / "..data")


@pytest.mark.parametrize("form", ["routing_key_file: {path}", "routing_key: {{file: {path}}}"])
def test_file_of_one_secret(tmp_path: Path, form: str) -> None:
    """A secret may be the content of a file; its last line break is no part of it."""
    secret = tmp_path / "key"
    secret.write_text(KEY + "\n", encoding="utf-8")
    settings = settings_of(tmp_path, f"pagerduty: {{{form.format(path=secret)}}}")
    assert settings.pagerduty.routing_key is not None
    assert settings.pagerduty.routing_key.get_secret_value() == KEY


def test_swapped_mount_is_read_by_the_next_load(tmp_path: Path) -> None:
    """A Kubernetes mount whose `..data` link was swapped gives the new secrets at the next load."""
    folder = tmp_path / "secrets"
    mount(folder, 1, {"pagerduty.routing_key": KEY, "slack.bot_token": "xoxb-first"})
    text = f"""
secrets_dir: {folder}
slack: {{channel: a}}
server: {{webhook_tokens: {{am: {{file: {folder}/slack.bot_token}}}}}}
"""
    first = settings_of(tmp_path, text)
    mount(folder, 2, {"pagerduty.routing_key": OTHER, "slack.bot_token": "xoxb-second"})
    second = settings_of(tmp_path, text)
    assert first.secrets == {KEY, "xoxb-first"}
    assert second.secrets == {OTHER, "xoxb-second"}


def test_folder_gives_named_secrets(tmp_path: Path) -> None:
    """A file may also be one operator's token; the folder may be named by a variable."""
    folder = tmp_path / "secrets"
    mount(folder, 1, {"server.operators.anna": "a-long-operator-token"})
    settings = settings_of(tmp_path, SECRETS_DIR=str(folder))
    assert settings.server.operators["anna"].get_secret_value() == "a-long-operator-token"


def test_variable_before_folder_before_file(tmp_path: Path) -> None:
    """The strongest source gives the whole secret, in whichever form the weaker ones gave it."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "pagerduty.routing_key").write_text(KEY, encoding="utf-8")
    text = f"secrets_dir: {folder}\npagerduty: {{routing_key: in-the-file}}"
    assert settings_of(tmp_path, text).secrets == {KEY}
    assert settings_of(tmp_path, text, PAGERDUTY__ROUTING_KEY=OTHER).secrets == {OTHER}
    by_path = f"pagerduty: {{routing_key_file: {folder}/pagerduty.routing_key}}"
    assert settings_of(tmp_path, by_path).secrets == {KEY}
    assert settings_of(tmp_path, by_path, PAGERDUTY__ROUTING_KEY=OTHER).secrets == {OTHER}
    inline = "pagerduty: {routing_key: in-the-file}"
    variable = str(folder / "pagerduty.routing_key")
    assert settings_of(tmp_path, inline, PAGERDUTY__ROUTING_KEY_FILE=variable).secrets == {KEY}


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        pytest.param(
            "pagerduty.routing_kye", KEY, "pagerduty.routing_kye: unknown setting; did you mean routing_key?", id="typo"
        ),
        pytest.param("tls.crt", KEY, "tls: unknown setting", id="foreign"),
        pytest.param("pagerduty.routing_key", "", "pagerduty.routing_key: is empty; give the secret", id="empty"),
        pytest.param("pagerduty.routing_key", "a\nb", "pagerduty.routing_key: holds a line break", id="two-lines"),
        pytest.param("pagerduty.routing_key", "x" * 70_000, "its file is larger than 65536 bytes", id="large"),
    ],
)
def test_bad_files_in_the_folder(tmp_path: Path, name: str, content: str, line: str) -> None:
    """A file that names no secret, or holds none, is refused: a secret that is not read would be missed at night."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(config.ConfigError) as caught:
        settings_of(tmp_path, f"secrets_dir: {folder}")
    assert line in str(caught.value)
    assert "(set by a file in secrets_dir)" in str(caught.value)
    assert not content or content not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "reason"),
    [("missing", "No such file or directory"), ("folder", "Is a directory"), ("bytes", "not UTF-8 text")],
)
def test_unreadable_secret(tmp_path: Path, make: str, reason: str) -> None:
    """Why a secret's file cannot be read is told; its path, which may be the secret itself, is not."""
    path = tmp_path / "the-secret"
    if make == "folder":
        path.mkdir()
    elif make == "bytes":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(config.ConfigError) as caught:
        settings_of(tmp_path, f"pagerduty: {{routing_key_file: {path}}}")
    assert str(caught.value).startswith(f"pagerduty.routing_key: its file cannot be read: {reason}; check path")
    assert "the-secret" not in str(caught.value)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Neither `repr` nor `str` nor a JSON dump nor the warnings hold any secret, wherever it is nested."""
    settings = settings_of(
        tmp_path,
        f"""
pagerduty: {{routing_key: {KEY}}}
slack: {{webhook_url: "https://hooks.invalid/planted-slack"}}
server:
  webhook_tokens: {{am: planted-webhook}}
  webhook_basic: {{am: planted-basic}}
  operators: {{anna: planted-operator-token}}
prometheus: {{secret_headers: {{Authorization: Bearer planted-header}}}}
kubernetes: {{url: "http://127.0.0.1:1", token: planted-kube}}
""",
    )
    assert len(settings.secrets) == 7
    shown = (repr(settings), str(settings), f"{settings.server}", json.dumps(settings.model_dump(mode="json")))
    for text in (*shown, *settings.warnings, settings.fingerprint):
        assert not [secret for secret in settings.secrets if secret in text]
