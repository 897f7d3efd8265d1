"""Addresses of servers as options give them."""

from __future__ import annotations

from yarl import URL

from daemon.cli.exits import CliError, Exit


def server(raw: str, option: str, *, example: str, credentials: str) -> URL:
    """The address. Raises CliError where it is none, with the example, or has a login in it, with where `credentials` belong."""
    try:
        url = URL(raw)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise CliError(Exit.USAGE, f"{option} is no address", f"write it like {example}")
    if url.user or url.password:
        raise CliError(Exit.USAGE, f"{option} holds credentials", credentials)
    return url
