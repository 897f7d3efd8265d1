"""A real Mosquitto on loopback, with what its tests vary: passwords, TLS, persistence, and its own death."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import parts

READY_SECONDS = 10.0
"""Mosquitto listens after 0.02 s; the rest is for a busy machine."""


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificates:
    """Paths: of the authority, and of what it signed for 127.0.0.1 (the broker) and for a client."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def certificates(folder: Path, name: str = "ca") -> Certificates:
    """A new authority and its two certificates, by the openssl program."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, authority_key = folder / f"{name}.crt", folder / f"{name}.key"
    ca = ("-x509", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    _openssl("req", *ca, *_new_key(authority_key), "-subj", f"/CN={name}", "-days", "2", "-out", str(authority))
    signed = {}
    for who, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        key, request, cert = (folder / f"{name}-{who}.{end}" for end in ("key", "csr", "crt"))
        extensions = folder / f"{name}-{who}.ext"
        extensions.write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n", encoding="utf-8")
        _openssl("req", *_new_key(key), "-subj", f"/CN={who}", "-out", str(request))
        signer = ("-CA", str(authority), "-CAkey", str(authority_key), "-CAcreateserial")
        _openssl(
            "x509", "-req", "-in", str(request), *signer, "-days", "2", "-extfile", str(extensions), "-out", str(cert)
        )
        signed[who] = (cert, key)
    (server, server_key), (client, client_key) = signed["server"], signed["client"]
    return Certificates(authority=authority, server=server, server_key=server_key, client=client, client_key=client_key)


def _new_key(path: Path) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path))


def _openssl(*arguments: str) -> None:
    subprocess.run([parts.require("openssl"), *arguments], check=True, capture_output=True)


@dataclass(kw_only=True)
class Mosquitto:
    """One broker, started and stopped as often as a test likes, on one port and one file of persistent sessions."""

    folder: Path
    users: dict[str, str] = field(default_factory=dict)
    certificates: Certificates | None = None
    lines: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        program = parts.require("mosquitto")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_passwords()
        (self.folder / "mosquitto.conf").write_text("\n".join(self._config()) + "\n", encoding="utf-8")
        with (self.folder / "mosquitto.log").open("ab") as log:
            command = [str(program), "-c", str(self.folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while not self._listens():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def stop(self) -> None:
        """End it gently: sessions and their messages are saved."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(READY_SECONDS)
            self._process = None

    def change_users(self, users: dict[str, str]) -> None:
        """Other passwords, taken over while it runs."""
        self.users = users
        self._write_passwords()
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        """Let it accept connections (the kernel does) and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def publish(self, topic: str, body: str | bytes, *options: str) -> None:
        """Publish by mosquitto_pub with QoS 1, as MQTT 5, and wait until the broker has it."""
        command = [str(parts.require("mosquitto_pub")), "-V", "5", "-h", "127.0.0.1", "-p", str(self.port), "-t", topic]
        for user, password in list(self.users.items())[:1]:
            command += ["-u", user, "-P", password]
        if self.certificates is not None:
            command += ["--cafile", str(self.certificates.authority)]
        quality = () if "-q" in options else ("-q", "1")
        given = body.encode() if isinstance(body, str) else body
        source = "-s" if given else "-n"
        subprocess.run([*command, *quality, *options, source], input=given, check=True, timeout=READY_SECONDS)

    def log(self) -> str:
        """What it wrote so far."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace")
        return ""

    def _config(self) -> Iterator[str]:
        yield f"listener {self.port} 127.0.0.1"
        yield "allow_anonymous " + ("false" if self.users else "true")
        if self.users:
            yield f"password_file {self.folder / 'passwords'}"
        if self.certificates is not None:
            yield f"cafile {self.certificates.authority}"
            yield f"certfile {self.certificates.server}"
            yield f"keyfile {self.certificates.server_key}"
        if os.geteuid() == 0:
            yield "user root"  # else it drops to its own user, and then cannot save into our folder, silently
        yield "persistence true"
        yield f"persistence_location {self.folder}/"
        yield "log_type all"
        yield "connection_messages true"
        yield from self.lines

    def _write_passwords(self) -> None:
        path = self.folder / "passwords"
        path.write_text("".join(f"{user}:{password}\n" for user, password in self.users.items()), encoding="utf-8")
        if self.users:
            subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=0.2):
            return True
        return False


@contextmanager
def mosquitto(
    folder: Path,
    *,
    users: dict[str, str] | None = None,
    secured: Certificates | None = None,
    lines: tuple[str, ...] = (),
) -> Iterator[Mosquitto]:
    """A broker for one test; skips it by name where Mosquitto is not installed."""
    parts.require("mosquitto")
    parts.require("mosquitto_pub")
    broker = Mosquitto(folder=folder, users=users or {}, certificates=secured, lines=lines)
    broker.start()
    try:
        yield broker
    finally:
        with contextlib.suppress(ProcessLookupError, AssertionError):
            broker.thaw()
        broker.stop()
