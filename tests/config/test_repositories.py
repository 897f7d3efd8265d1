"""`events.repositories`: where commits are reverted, and what is refused with which remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

import config

TOKEN = "planted-token-of-24-char"
SOURCES = "  sources:\n    ci: {kind: events, token: planted-token-of-the-ci}\n"


def settings_of(folder: Path, text: str, environ: dict[str, str] | None = None) -> config.Settings:
    path = folder / "lastgood.yaml"
    path.write_text(f"cluster: c\n{text}", encoding="utf-8")
    return config.load(path, environ or {})


def repositories(*lines: str) -> str:
    return f"events:\n{SOURCES}  repositories:\n" + "".join(f"    {line}\n" for line in lines)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(config.ConfigError) as caught:
        settings_of(folder, text)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_each_vendor(tmp_path: Path) -> None:
    """The vendor's own address, or one's own; the default branch, or a named one; the broker may be a source."""
    found = settings_of(
        tmp_path,
        repositories(
            f"hub: {{kind: github, project: shop/deploy, token: {TOKEN}, sources: [ci]}}",
            f"lab: {{kind: gitlab, project: a/b/c, token: {TOKEN}, sources: [ci, mqtt], branch: release/1,"
            " api_url: 'https://gitlab.example/api/v4'}",
        ),
    ).events.repositories
    assert (found["hub"].vendor_url, found["hub"].branch) == ("https://api.github.com", None)
    assert (found["lab"].vendor_url, found["lab"].branch) == ("https://gitlab.example/api/v4", "release/1")
    assert found["lab"].sources == ("ci", "mqtt")


def test_the_token_may_come_from_a_file(tmp_path: Path) -> None:
    """Named by `token_file`, or by its setting in secrets_dir; it shows nowhere."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "events.repositories.hub.token").write_text(TOKEN)
    text = repositories("hub: {kind: github, project: shop/deploy, sources: [ci]}")
    settings = settings_of(tmp_path, f"secrets_dir: {tmp_path}/secrets\n{text}")
    assert settings.events.repositories["hub"].token.get_secret_value() == TOKEN
    assert TOKEN not in repr(settings)
    assert TOKEN in settings.secrets
    file = tmp_path / "token"
    file.write_text(TOKEN)
    text = repositories(f"hub: {{kind: github, project: shop/deploy, token_file: {file}, sources: [ci]}}")
    assert settings_of(tmp_path, text).events.repositories["hub"].token.get_secret_value() == TOKEN


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hub: {kind: github, project: shop/deploy, sources: [ci]}", "token"),
        (f"hub: {{kind: github, project: shop/deploy, token: {TOKEN}, sources: []}}", "sources"),
        (
            f"hub: {{kind: github, project: shop/deploy, token: {TOKEN}, sources: [cd]}}",
            "none of events.sources, nor mqtt",
        ),
        (f"hub: {{kind: gitea, project: shop/deploy, token: {TOKEN}, sources: [ci]}}", "kind"),
        (f"hub: {{kind: github, project: deploy, token: {TOKEN}, sources: [ci]}}", "owner/repository"),
        (f"hub: {{kind: github, project: shop/deploy/x, token: {TOKEN}, sources: [ci]}}", "owner/repository"),
        (f"hub: {{kind: github, project: shop/.., token: {TOKEN}, sources: [ci]}}", "owner/repository"),
        (f"hub: {{kind: github, project: 'shop/a?b', token: {TOKEN}, sources: [ci]}}", "owner/repository"),
        (f"lab: {{kind: gitlab, project: deploy, token: {TOKEN}, sources: [ci]}}", "group/project"),
        (f"lab: {{kind: gitlab, project: shop/../x, token: {TOKEN}, sources: [ci]}}", "group/project"),
        (f"hub: {{kind: github, project: a/b, token: {TOKEN}, sources: [ci], branch: 'a..b'}}", "name of a branch"),
        (f"hub: {{kind: github, project: a/b, token: {TOKEN}, sources: [ci], branch: ''}}", "name of a branch"),
        (f"hub: {{kind: github, project: a/b, token: {TOKEN}, sources: [ci], branch: '-x'}}", "name of a branch"),
        (f"hub: {{kind: github, project: a/b, token: {TOKEN}, sources: [ci], branch: 'a b'}}", "name of a branch"),
        (f"Hub: {{kind: github, project: a/b, token: {TOKEN}, sources: [ci]}}", "lower-case"),
    ],
)
def test_what_is_refused(tmp_path: Path, line: str, said: str) -> None:
    """Each with the field and the remedy."""
    assert said in refusal(tmp_path, repositories(line))


def test_a_policy_without_a_repository_is_warned_of(tmp_path: Path) -> None:
    """A rule that can do nothing says so."""
    rule = "policy: {gitops: [{do: git-revert}]}\n"
    assert any("git-revert without" in each for each in settings_of(tmp_path, rule).warnings)
    text = repositories(f"hub: {{kind: github, project: shop/deploy, token: {TOKEN}, sources: [ci]}}")
    assert not any("git-revert" in each for each in settings_of(tmp_path, rule + text).warnings)
