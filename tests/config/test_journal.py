"""`journal`: where it is, and that its password is shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, Settings, load

GOOD = "postgresql://lastgood:hush%2Dhush@db.example:5432/lastgood?sslmode=verify-full"


def read(tmp_path: Path, journal: str, **environ: str) -> Settings:
    config = tmp_path / "lastgood.yaml"
    config.write_text(f"cluster: c\njournal: {journal}\n")
    return load(config, environ)


def test_the_file_is_the_default(tmp_path: Path) -> None:
    """Without a URL the journal is the file in the state folder."""
    settings = read(tmp_path, "{}")
    assert settings.journal.url is None
    assert settings.journal_path.name == "journal.sqlite"


def test_the_url_is_a_secret(tmp_path: Path) -> None:
    """It is shown nowhere, and its password is cut out of the log as it is written and as it is meant."""
    settings = read(tmp_path, f"{{url: '{GOOD}'}}")
    assert "hush" not in repr(settings)
    assert {GOOD, "hush%2Dhush", "hush-hush"} <= settings.secrets
    in_query = read(tmp_path, "{url: 'postgresql:///db?host=/run&password=hush-hush'}")
    assert "hush-hush" in in_query.secrets


def test_from_a_file_and_the_environment(tmp_path: Path) -> None:
    """The URL may be a mounted Secret or a variable."""
    (tmp_path / "url").write_text(f"{GOOD}\n")
    for settings in (
        read(tmp_path, f"{{url_file: {tmp_path / 'url'}}}"),
        read(tmp_path, "{}", LASTGOOD_JOURNAL__URL=GOOD),
    ):
        assert settings.journal.url is not None
        assert settings.journal.url.get_secret_value() == GOOD


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        ("{url: 'mysql://u:hush-hush@h/d'}", "journal.url: is no URL of PostgreSQL; write it like postgresql://"),
        ("{url: 'postgresql://u:hush hush@h/d'}", "journal.url: is no URL of PostgreSQL"),
        ("{url: 'postgresql://[u:hush-hush@h/d'}", "journal.url: is no URL of PostgreSQL"),
        ("{url: 'postgresql://u:hush-hush@h'}", "journal.url: names no database"),
        ("{schema_name: 'a; DROP'}", "journal.schema_name: string should match pattern"),
        ("{path: x}", "journal.path: unknown setting"),
    ],
)
def test_refused(tmp_path: Path, journal: str, said: str) -> None:
    """What cannot be a database is refused in one line, without the password."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, journal)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        (GOOD, False),
        ("postgresql://u:p@db.example/d", True),
        ("postgresql://u:p@db.example/d?sslmode=prefer", True),
        ("postgresql://u:p@127.0.0.1:5433/d", False),
        ("postgresql://u@/d?host=/run/postgresql", False),
    ],
)
def test_plain_connections_are_warned_of(tmp_path: Path, url: str, warned: bool) -> None:
    """A password that may cross a network in the clear is worth a warning, not a refusal."""
    found = read(tmp_path, f"{{url: '{url}'}}").warnings
    assert any(each.startswith("journal.url: without sslmode=verify-full") for each in found) is warned
