"""Who may speak to the control plane, and how a client knows that it speaks to the right one."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

ADMIN, CONTROLLERS, SCHEDULER, KUBELET = "admin", "system:kube-controller-manager", "system:kube-scheduler", "kubelet"

USERS: Mapping[str, tuple[str, ...]] = {
    ADMIN: ("system:masters",),
    CONTROLLERS: (),
    SCHEDULER: (),
    KUBELET: ("system:nodes",),  # served before others when the API server is busy, as real nodes are
    "nobody": (),
    "lastgood": (),
    "pipeline": (),
    "developer": (),
    "break-glass": (),
}
"""Users by name, with their groups. Only the admin and the cluster's own parts may do anything before a test binds a role."""

_CERTIFICATE_DAYS = "30"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """The files of one control plane, in `folder`."""

    folder: Path
    tokens: Mapping[str, str]

    @property
    def certificate(self) -> Path:
        """The serving certificate; it is its own CA."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """The serving certificate's key."""
        return self.folder / "server.key"

    @property
    def service_account_key(self) -> Path:
        """Signs the tokens of service accounts."""
        return self.folder / "service-accounts.key"

    @property
    def service_account_public(self) -> Path:
        """Verifies the tokens of service accounts."""
        return self.folder / "service-accounts.pub"

    @property
    def token_file(self) -> Path:
        """What `--token-auth-file` reads."""
        return self.folder / "tokens.csv"


def make(folder: Path, users: Mapping[str, tuple[str, ...]]) -> Credentials:
    """New keys, a certificate for 127.0.0.1, and a token for each user. Needs `openssl` 1.1.1 or newer."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Credentials(folder=folder, tokens={name: secrets.token_hex(16) for name in users})
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", _CERTIFICATE_DAYS,
        "-subj", "/CN=lastgood-control-plane", "-keyout", made.key, "-out", made.certificate,
        "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc",
        "-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-addext", "extendedKeyUsage=serverAuth",
    )  # fmt: skip
    _openssl("genrsa", "-out", made.service_account_key, "2048")
    _openssl("rsa", "-in", made.service_account_key, "-pubout", "-out", made.service_account_public)
    rows = [f'{made.tokens[name]},{name},{name},"{",".join(groups)}"' for name, groups in users.items()]
    made.token_file.touch(mode=0o600)
    made.token_file.write_text("\n".join(rows) + "\n")
    return made


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def kubeconfig(path: Path, *, url: str, ca: Path, user: str, token: str, namespace: str = "default") -> Path:
    """Writes a kubeconfig file for one user; returns its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user, "namespace": namespace}}],
        "current-context": "tests",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path
