"""``ControlPlane``: etcd, the real API server, controllers and scheduler, and simulated nodes, as one thing to start and stop.

    with ControlPlane(binaries) as plane:
        plane.ask("GET", "/api/v1/nodes", user="admin")
        plane.kill(APISERVER)
        plane.restart(APISERVER)

Everything blocks; from a coroutine use ``async with``, and ``asyncio.to_thread(plane.restart, APISERVER)``. Nothing outlives
the block, nor a SIGKILL of whoever runs it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.sandbox.kube import Behaviour, Timing
from tests.controlplane import credentials, flags
from tests.controlplane.builds import Binaries
from tests.controlplane.credentials import ADMIN, CONTROLLERS, KUBELET, SCHEDULER, USERS
from tests.controlplane.processes import Family, Server, StartError, free_ports, wait_until
from tests.repository import ROOT

ETCD, APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet",
)  # fmt: skip
PARTS = (ETCD, APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES)
"""The names that ``kill``, ``stop``, ``start``, ``restart``, ``pause`` and ``resume`` take, in the order of their start."""

FAST = Timing(start=0.1, termination=0.05, backoff=0.1, backoff_max=1.0)
"""What the contract suite takes for the sandbox."""

READY_SECONDS = 90.0
"""For one part to come up; the API server takes about four seconds on an idle machine."""

REQUEST_SECONDS = 30.0

Json = dict[str, Any]

_NODE_ROLE: Json = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "tests:kubelet"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": KUBELET}],
}
_AUDIT_POLICY: Json = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}


class ControlPlane:
    """One control plane. ``users`` adds to (or replaces) those of ``credentials.USERS``; ``nodes`` are simulated.

    ``timing`` is the kubelet's, ``pod_network`` the first two bytes of the pods' addresses. ``audit``: each request stands in
    ``audit_log``, a JSON line each. ``apiserver_flags`` come last. ``folder`` holds logs and data; without one, a temporary
    folder does, until the end.
    """

    def __init__(
        self,
        binaries: Binaries,
        *,
        folder: Path | None = None,
        users: Mapping[str, tuple[str, ...]] | None = None,
        timing: Timing = FAST,
        nodes: int = 3,
        pod_network: str = "10.244",
        audit: bool = False,
        apiserver_flags: Sequence[str] = (),
    ) -> None:
        self.binaries = binaries
        self.folder = folder or Path(tempfile.mkdtemp(prefix="lastgood-plane-"))
        self._temporary = folder is None
        self._users = {**USERS, **(users or {})}
        self._kubelet = {"nodes": nodes, "timing": asdict(timing), "network": pod_network}
        self._audit = audit
        self._more = tuple(apiserver_flags)
        self._family = Family()
        etcd_port, peer_port, port = free_ports(3)
        self.layout = flags.Layout(folder=self.folder, etcd_port=etcd_port, peer_port=peer_port, port=port)
        self._servers: dict[str, Server] = {}
        self._tokens: Mapping[str, str] = {}
        self.ca = self.folder / "credentials/server.crt"
        self.audit_log = self.folder / "audit.log"

    # -- what a client needs -----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """``https://127.0.0.1:PORT``, without a slash at the end. The same after each restart."""
        return self.layout.url

    @property
    def minor(self) -> str:
        """For example ``1.36``."""
        return self.binaries.minor

    @property
    def release(self) -> tuple[int, int]:
        """For example (1, 36)."""
        return self.binaries.release

    def token(self, user: str) -> str:
        """A user's bearer token. ``system:serviceaccount:NAMESPACE:NAME``: a new one for an account that exists."""
        if not user.startswith("system:serviceaccount:"):
            return self._tokens[user]
        _, _, namespace, name = user.split(":")
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        status, answer = self.ask("POST", path, body)
        if status != 201:
            raise LookupError(f"no token for {user}: {status} {answer.get('message')}")
        token: str = answer["status"]["token"]
        return token

    def kubeconfig(self, user: str = ADMIN, *, namespace: str = "default") -> Path:
        """A kubeconfig file for the user, for kubectl, helm and our daemon."""
        path = self.folder / f"kubeconfig-{user.replace(':', '-')}-{namespace}"
        token = self.token(user)
        return credentials.kubeconfig(path, url=self.url, ca=self.ca, user=user, token=token, namespace=namespace)

    def ssl_context(self) -> ssl.SSLContext:
        """Trusts this control plane, and only it."""
        return ssl.create_default_context(cafile=self.ca)

    def ask(
        self, method: str, path: str, body: object = None, *, user: str = ADMIN, kind: str = "application/json"
    ) -> tuple[int, Json]:
        """One request, as (HTTP status, body); OSError when the API server cannot be reached."""
        token = self._tokens.get(user) or self.token(user)
        return _ask(self.url + path, method, body, kind=kind, token=token, context=self.ssl_context())

    # -- life --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._prepare()
            for part in (ETCD, APISERVER):
                self.start(part)
                self.wait_ready(part)
            self._admit_the_nodes()
            for part in (CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES):
                self.start(part)
            self.wait_ready(NODES)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Ends every process; removes the folder if it is ours."""
        self._family.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> None:
        made = credentials.make(self.folder / "credentials", self._users)
        self._tokens = made.tokens
        policy = self.folder / "audit-policy.yaml" if self._audit else None
        if policy is not None:
            policy.write_text(json.dumps(_AUDIT_POLICY))
        self._write_behaviours({})
        settings = self.folder / "kubelet.json"
        own = {
            "server": self.url,
            "ca": str(self.ca),
            "token": self._tokens[KUBELET],
            "behaviours": str(self._behaviours),
        }
        settings.touch(mode=0o600)
        settings.write_text(json.dumps({**self._kubelet, **own, "version": f"v{self.minor}.0"}))
        binaries = self.binaries
        commands: dict[str, Sequence[str | Path]] = {
            ETCD: flags.etcd(binaries, self.layout),
            APISERVER: flags.apiserver(binaries, self.layout, made, audit_policy=policy, more=self._more),
            CONTROLLER_MANAGER: flags.controller_manager(binaries, self.kubeconfig(CONTROLLERS), made),
            KUBE_SCHEDULER: flags.scheduler(binaries, self.kubeconfig(SCHEDULER)),
            NODES: [sys.executable, "-m", "tests.controlplane.kubelet", settings],
        }
        for name, command in commands.items():
            folder = ROOT if name == NODES else self.folder
            self._servers[name] = Server(name=name, command=command, log=self.folder / f"{name}.log", folder=folder)

    def _admit_the_nodes(self) -> None:
        status, answer = self.ask("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", _NODE_ROLE)
        if status not in {201, 409}:
            raise StartError(f"the nodes' role cannot be bound: {status} {answer}")

    # -- weather -----------------------------------------------------------------------------------------------

    def start(self, part: str) -> None:
        """Starts one of PARTS (again); returns at once."""
        self._family.start(self._servers[part])

    def wait_ready(self, part: str) -> None:
        """Until the part does its work; StartError with its log's end if it does not. Controllers and scheduler show it only
        by what they do.
        """
        checks = {ETCD: self._etcd_is_well, APISERVER: self._apiserver_is_ready, NODES: self._nodes_are_ready}
        if part in checks:
            wait_until(f"{part} is ready", checks[part], seconds=READY_SECONDS, server=self._servers[part])

    def kill(self, part: str) -> None:
        """SIGKILL; returns when it is gone."""
        self._family.kill(part)

    def stop(self, part: str) -> None:
        """SIGTERM (SIGKILL 20 s later); returns when it is gone."""
        self._family.stop(part)

    def restart(self, part: str) -> None:
        """Starts what was killed or stopped (and kills it first if it runs); returns when it is ready."""
        self._family.kill(part)
        self.start(part)
        self.wait_ready(part)

    def pause(self, part: str) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._family.signal(part, signal.SIGSTOP)

    def resume(self, part: str) -> None:
        """SIGCONT."""
        self._family.signal(part, signal.SIGCONT)

    def running(self, part: str) -> bool:
        """The part's process lives."""
        return self._servers[part].running

    def log(self, part: str) -> str:
        """All that the part has logged so far."""
        return self._servers[part].log.read_text(errors="replace")

    def compact_etcd(self) -> int:
        """Forgets all history before this moment; returns the revision. An API server that is restarted afterwards answers a
        watch from before with 410 (a running one still has its own cache).
        """
        _, answer = _ask(f"{self.layout.etcd_url}/v3/kv/range", "POST", {"key": "AA=="})
        revision = int(answer["header"]["revision"])
        status, answer = _ask(
            f"{self.layout.etcd_url}/v3/kv/compaction", "POST", {"revision": revision, "physical": True}
        )
        if status != 200:
            raise RuntimeError(f"etcd does not compact: {status} {answer}")
        return revision

    def behave(self, image: str, behaviour: Behaviour | None) -> None:
        """What containers of this image do from their next start on, whatever the image's name says; None: as it says."""
        planned = json.loads(self._behaviours.read_text())
        planned.pop(image, None)
        if behaviour is not None:
            planned[image] = asdict(behaviour)
        self._write_behaviours(planned)

    @property
    def _behaviours(self) -> Path:
        return self.folder / "behaviours.json"

    def _write_behaviours(self, planned: Json) -> None:
        draft = self._behaviours.with_suffix(".draft")
        draft.write_text(json.dumps(planned))
        draft.replace(self._behaviours)

    # -- readiness ---------------------------------------------------------------------------------------------

    def _etcd_is_well(self) -> bool:
        try:
            status, answer = _ask(f"{self.layout.etcd_url}/health", "GET")
        except OSError:
            return False
        return status == 200 and answer.get("health") == "true"

    def _apiserver_is_ready(self) -> bool:
        try:
            return all(self.ask("GET", path)[0] == 200 for path in ("/readyz", "/api/v1/namespaces/default"))
        except OSError:
            return False

    def _nodes_are_ready(self) -> bool:
        _, answer = self.ask("GET", "/api/v1/nodes")
        wanted = self._kubelet["nodes"]
        ready = [node for node in answer.get("items", []) if _node_is_ready(node)]
        return len(ready) == wanted


def _node_is_ready(node: Json) -> bool:
    conditions = {one["type"]: one["status"] for one in node.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def _ask(
    url: str,
    method: str,
    body: object = None,
    *,
    kind: str = "application/json",
    token: str = "",
    context: ssl.SSLContext | None = None,
) -> tuple[int, Json]:
    headers = {"Content-Type": kind, "User-Agent": "tests/1"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    opener = urllib.request.build_opener(  # a proxy named in the environment has no business on loopback
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(request, timeout=REQUEST_SECONDS) as response:
            return response.status, _read(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _read(error.read())


def _read(content: bytes) -> Json:
    """JSON as it is; ``/readyz`` and its like answer in plain text."""
    try:
        found = json.loads(content)
    except ValueError:
        return {"text": content.decode(errors="replace")}
    return found if isinstance(found, dict) else {"items": found}
