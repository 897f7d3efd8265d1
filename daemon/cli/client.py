"""Asking the daemon: over its Unix socket, or over the network with a named operator's token."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from daemon.cli import addresses
from daemon.cli.arguments import ascii_only, chosen_config
from daemon.cli.exits import CliError, Exit

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 30.0
"""A daemon that is there answers at once; a command waits at most 10 s for what it leads to."""

ANSWER_BYTES_MAX = 64 * 2**20
"""Largest answer that is read: 2,000 workloads have about 2 MB."""

TOKEN_BYTES_MAX = 4096
"""Longest token file; a header line may have 8 KiB."""

_PART = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?")
"""Part of a path that stays one: no slash, no dots alone, nothing to be escaped."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the daemon listens: a socket, or an address with a token."""

    socket: Path | None = None
    server: URL | None = None
    token: str | None = None


def address(options: argparse.Namespace) -> Address:
    """Where to ask. Options win over the environment, and a socket or server over the configuration."""
    if options.socket is not None:
        return Address(socket=options.socket)
    if options.server is not None:
        return _remote(options.server, options.token_file)
    if named := os.environ.get("LASTGOOD_SOCKET"):
        return Address(socket=Path(named))
    if server := os.environ.get("LASTGOOD_URL"):
        return _remote(server, options.token_file)
    return Address(socket=_configured_socket(options))


def _remote(raw: str, token_file: Path | None) -> Address:
    remedy = "put the token into a file and name it --token-file"
    server = addresses.server(raw, "--server", example="https://lastgood.example.net", credentials=remedy)
    path = token_file or (Path(named) if (named := os.environ.get("LASTGOOD_TOKEN_FILE")) else None)
    if path is None:
        raise CliError(Exit.USAGE, "--server needs a token", "name its file with --token-file")
    if server.scheme == "http" and not _is_loopback(server.host or ""):
        print("lastgood: warning: http:// sends the token unencrypted; use https://", file=sys.stderr)
    return Address(server=server, token=_token(path))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(path: Path) -> str:
    shown = ascii_only(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(TOKEN_BYTES_MAX + 1)
    except OSError as error:
        why = f"--token-file {shown}: {error.strerror}"
        raise CliError(Exit.USAGE, why, "name a file that you may read") from None
    token = raw.strip()
    if not token or len(raw) > TOKEN_BYTES_MAX or not token.isascii() or any(byte <= 32 for byte in token):
        raise CliError(Exit.USAGE, f"--token-file {shown} holds no token", "it must hold one line without blanks")
    return token.decode()


def _configured_socket(options: argparse.Namespace) -> Path:
    """The socket in the state folder that the configuration names, else LASTGOOD_STATE_DIR, else the default."""
    from config import ConfigError, load
    from config.settings import Settings

    path = chosen_config(options)
    if path is not None:
        try:
            return load(path).socket_path
        except ConfigError as error:
            first = error.problems[0]
            remedy = "correct it (`lastgood check-config` shows all), or name the socket with --socket"
            raise CliError(Exit.CONFIGURATION, f"{ascii_only(str(path))}: {first}", remedy) from None
    folder = os.environ.get("LASTGOOD_STATE_DIR") or Settings.model_fields["state_dir"].default
    return Path(folder) / "lastgood.sock"


async def ask(where: Address, name: str, query: Mapping[str, str]) -> Document:
    """The answer to a question. Raises CliError."""
    return await _request(where, "GET", name, params=dict(query))


async def gate(where: Address, workload: str, image: str | None) -> Document:
    """May this workload be rolled out? Raises CliError, never with Exit.REFUSED: here that means "closed"."""
    parts = workload.split("/")
    if not 2 <= len(parts) <= 3 or not all(map(_PART.fullmatch, parts)):
        raise CliError(Exit.USAGE, f"{ascii_only(workload)!r} is no workload", "write it as namespace/name")
    try:
        return await ask(where, f"gate/{workload}", {} if image is None else {"image": image})
    except CliError as error:
        if error.code is not Exit.REFUSED:
            raise
        raise CliError(Exit.UNREACHABLE, f"the gate did not answer: {error}", "") from None


async def order(where: Address, name: str, body: Mapping[str, Any]) -> Document:
    """What a command led to. Raises CliError."""
    return await _request(where, "POST", name, json=dict(body))


async def _request(where: Address, method: str, name: str, **how: Any) -> Document:
    connector = aiohttp.UnixConnector(str(where.socket)) if where.socket is not None else aiohttp.TCPConnector()
    timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS, connect=CONNECT_SECONDS)
    server = where.server if where.server is not None else URL("http://lastgood")
    headers = {"Authorization": f"Bearer {where.token}"} if where.token else {}
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session,
            # No redirect: it would carry the token to another place.
            session.request(method, server / "api" / "v1" / name, allow_redirects=False, **how) as response,
        ):
            return _document(response.status, await _read(response), where)
    except (aiohttp.ClientError, OSError) as error:
        raise _unreachable(where, error) from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise CliError(Exit.UNREACHABLE, f"the answer is larger than {ANSWER_BYTES_MAX} bytes", "ask for less")
    return bytes(body)


def _document(status: int, body: bytes, where: Address) -> Document:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if status in (200, 202) and isinstance(found, dict):
        return found
    error, remedy = _failure(found)
    match status:
        case 400 | 413:
            raise CliError(Exit.USAGE, error or "the daemon does not understand this", remedy)
        case 401 | 403:
            raise CliError(Exit.UNAUTHORISED, "the daemon does not know this token", "check --token-file")
        case 404 | 409 if error:
            raise CliError(Exit.REFUSED, error, remedy)
        case 503 if error:
            raise CliError(Exit.UNREACHABLE, error, remedy)
        case 500:
            raise CliError(Exit.UNREACHABLE, "the daemon failed to answer (status 500)", "see its log")
    raise CliError(
        Exit.UNREACHABLE, f"{_shown(where)} does not answer like lastgood (status {status})", "check the address"
    )


def _failure(found: object) -> tuple[str, str]:
    if not isinstance(found, dict):
        return "", ""
    return str(found.get("error") or ""), str(found.get("remedy") or "")


def _shown(where: Address) -> str:
    return ascii_only(str(where.socket if where.socket is not None else where.server))


def _unreachable(where: Address, error: Exception) -> CliError:
    shown = _shown(where)
    cause = getattr(error, "os_error", error)
    if isinstance(error, TimeoutError):
        return CliError(Exit.UNREACHABLE, f"no answer from {shown} in time", "see the daemon's log, then try again")
    if isinstance(cause, PermissionError):
        remedy = "run this as the daemon's user, or use --server with a token"
        return CliError(Exit.UNAUTHORISED, f"no permission on {shown}", remedy)
    if isinstance(error, aiohttp.ClientSSLError):
        return CliError(Exit.UNREACHABLE, f"{shown}: its certificate cannot be trusted", "install the CA's certificate")
    if where.socket is None:
        return CliError(Exit.UNREACHABLE, f"{shown} cannot be reached", "check the address and the network")
    if isinstance(cause, FileNotFoundError):
        remedy = "is the daemon running here? name its socket with --socket, or use --server"
        return CliError(Exit.UNREACHABLE, f"there is no socket {shown}", remedy)
    return CliError(Exit.UNREACHABLE, f"nothing answers on {shown}", "is the daemon running? see its log")
