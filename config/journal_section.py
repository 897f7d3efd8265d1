"""The section `journal`: where it is kept, if not in the state folder."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, field_validator

from config.credentials import OptionalSecret, Section

SCHEMES = ("postgresql", "postgres")

CHECKED = ("require", "verify-ca", "verify-full")
"""Values of sslmode with which nobody on the way can read along."""


class Journal(Section):
    """Without `url` the journal is a file in the state folder, for one daemon. With it the journal is a schema of a
    PostgreSQL database, for several.

    The whole URL is a secret, because it usually holds a password.
    """

    url: OptionalSecret = None
    schema_name: str = Field(default="lastgood", pattern=r"^[a-z_][a-z0-9_]{0,62}$")

    @field_validator("url")
    @classmethod
    def _database(cls, value: OptionalSecret) -> OptionalSecret:
        if value is not None:
            checked(value.get_secret_value())
        return value

    @property
    def passwords(self) -> Iterator[str]:
        """What of the URL is secret by itself, as it is written and as it is meant."""
        parts = urlsplit(self.url.get_secret_value()) if self.url is not None else urlsplit("")
        given = parts.netloc.rpartition("@")[0].partition(":")[2]
        for word in (given, *parse_qs(parts.query).get("password", ())):
            if word:
                yield from {word, unquote(word)}


def checked(url: str) -> str:
    """The URL. Raises ValueError, with a remedy and without the URL, where it cannot be one of a database."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES or any(char.isspace() for char in url):
        raise ValueError("is no URL of PostgreSQL; write it like postgresql://user:password@host:5432/database")
    if not parts.path.strip("/"):
        raise ValueError("names no database; write it like postgresql://user:password@host:5432/database")
    return url


def warnings_of(journal: Journal) -> list[str]:
    """What is allowed but may surprise, one line each."""
    if journal.url is None:
        return []
    parts = urlsplit(journal.url.get_secret_value())
    given = parse_qs(parts.query)
    hosts = {host.partition(":")[0] for host in parts.netloc.rpartition("@")[2].split(",")}
    is_local = hosts <= {"localhost", "127.0.0.1", ""}
    if is_local or given.get("sslmode", [""])[-1] in CHECKED:
        return []
    return ["journal.url: without sslmode=verify-full; password and journal may cross the network in the clear"]
