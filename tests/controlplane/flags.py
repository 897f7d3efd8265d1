"""The command lines of the control plane's parts, and where they differ between minors."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane.builds import Binaries
from tests.controlplane.credentials import Credentials

CONTROLLERS = (
    "deployment", "replicaset", "statefulset", "daemonset", "job", "cronjob", "endpoint", "endpointslice",
    "garbagecollector", "namespace", "serviceaccount", "podgc", "disruption", "resourcequota", "clusterrole-aggregation",
)  # fmt: skip
"""Without `nodelifecycle`: simulated nodes send no heartbeats, and 40 s later all their pods would be unready."""

POLICY_STATUS_FROM = (1, 30)
"""From here on a controller checks the types in a ValidatingAdmissionPolicy."""

INSECURE_PORTS_UNTIL = (1, 23)
"""Up to here the parts listen in plain HTTP as well unless they are told not to; from 1.24 on they know no such flag."""

REQUESTS_PER_SECOND = 500
"""What the controllers may ask for. Their default, 20, makes a test of a big cluster wait for that alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where one control plane lies and listens."""

    folder: Path
    etcd_port: int
    peer_port: int
    port: int

    @property
    def etcd_url(self) -> str:
        """For the API server, and for a test that compacts."""
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def url(self) -> str:
        """Of the API server."""
        return f"https://127.0.0.1:{self.port}"


def etcd(binaries: Binaries, layout: Layout) -> list[str | Path]:
    """One member, on loopback."""
    peer = f"http://127.0.0.1:{layout.peer_port}"
    command: list[str | Path] = [
        binaries.etcd, "--name=only", f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={layout.etcd_url}", f"--advertise-client-urls={layout.etcd_url}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=only={peer}",
    ]  # fmt: skip
    if _may_skip_fsync(binaries.etcd):
        command.append("--unsafe-no-fsync")  # it need not survive a power cut, and CI's disks are slow
    return command


@functools.cache
def _may_skip_fsync(program: Path) -> bool:
    said = subprocess.run([program, "--help"], capture_output=True, text=True, check=False, timeout=60)
    return "--unsafe-no-fsync" in said.stdout + said.stderr


def apiserver(
    binaries: Binaries, layout: Layout, credentials: Credentials, *, audit_policy: Path | None, more: Sequence[str]
) -> list[str | Path]:
    """RBAC on, TLS on, tokens from a file. ServiceAccount admission is off: pods here need no token."""
    command: list[str | Path] = [
        binaries.apiserver, f"--etcd-servers={layout.etcd_url}",
        "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={layout.port}",
        f"--tls-cert-file={credentials.certificate}", f"--tls-private-key-file={credentials.key}",
        f"--cert-dir={layout.folder / 'apiserver'}",
        "--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={credentials.service_account_public}",
        f"--service-account-signing-key-file={credentials.service_account_key}",
        f"--token-auth-file={credentials.token_file}", "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--profiling=false", "--watch-cache=true",
        *(["--insecure-port=0"] if binaries.release <= INSECURE_PORTS_UNTIL else []),
    ]  # fmt: skip
    if audit_policy is not None:
        command += [f"--audit-policy-file={audit_policy}", f"--audit-log-path={layout.folder / 'audit.log'}"]
    return [*command, *more]


def controller_manager(binaries: Binaries, kubeconfig: Path, credentials: Credentials) -> list[str | Path]:
    """Each controller under an account of its own, as in a real cluster: admission policies see those names."""
    more = ("validatingadmissionpolicy-status-controller",) if binaries.release >= POLICY_STATUS_FROM else ()
    return [
        binaries.controller_manager, *_client(binaries, kubeconfig),
        "--use-service-account-credentials=true", f"--controllers={','.join(CONTROLLERS + more)}",
        f"--service-account-private-key-file={credentials.service_account_key}",
        f"--root-ca-file={credentials.certificate}",
    ]  # fmt: skip


def scheduler(binaries: Binaries, kubeconfig: Path) -> list[str | Path]:
    """The real one: it binds pods to the simulated nodes."""
    return [binaries.scheduler, *_client(binaries, kubeconfig)]


def _client(binaries: Binaries, kubeconfig: Path) -> list[str]:
    """What both clients of the API server want: no election of a leader, and no port."""
    return [
        f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0", "--profiling=false",
        f"--kube-api-qps={REQUESTS_PER_SECOND}", f"--kube-api-burst={REQUESTS_PER_SECOND * 2}",
        *(["--port=0"] if binaries.release <= INSECURE_PORTS_UNTIL else []),
    ]  # fmt: skip
