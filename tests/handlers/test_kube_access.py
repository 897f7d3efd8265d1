"""Each way to the API server leads to a request with the right credentials, and each broken one to a clear fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.kube import KubeClient
from handlers.kube_access import from_kubeconfig, from_url, in_cluster, pod_namespace
from tests.handlers.scripted_api import PODS, says, serving

ENVIRON = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def mounted(folder: Path, token: str = "pod-token\n") -> dict[str, Path]:
    """A service account as Kubernetes mounts it; some tools write the token with a final newline."""
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_text("a certificate")
    return {"token_file": folder / "token", "ca_file": folder / "ca.crt"}


async def test_in_cluster(tmp_path: Path) -> None:
    """The service account's token is sent, without its newline, to the address in the environment."""
    configuration = in_cluster(**mounted(tmp_path), environ=ENVIRON)
    assert configuration.host == "https://10.0.0.1:443"
    async with serving() as api:
        configuration.host, configuration.ssl_ca_cert = api.url, None
        api.lists = [says(200, {"kind": "PodList"})]
        async with KubeClient(configuration) as client:
            await client.get(PODS)
        assert api.asked[0].headers["Authorization"] == "Bearer pod-token"


@pytest.mark.parametrize(("environ", "token"), [({}, "x"), (ENVIRON, "")])
def test_not_in_a_cluster(tmp_path: Path, environ: dict[str, str], token: str) -> None:
    """Without the environment or the token there is no access, and we say so."""
    with pytest.raises(Permanent, match="in-cluster"):
        in_cluster(**mounted(tmp_path, token), environ=environ)


async def test_credentials_that_cannot_be_renewed_are_a_passing_fault() -> None:
    """A token file in the middle of its rotation passes; no request goes out without credentials."""

    def broken(_: object) -> None:
        raise OSError("no such file: /secret/path")

    async with serving() as api:
        configuration = from_url(api.url, token="old")
        configuration.refresh_api_key_hook = broken
        async with KubeClient(configuration) as client:
            with pytest.raises(Transient) as raised:
                await client.get(PODS)
        assert api.asked == []
    assert raised.value.kind is FaultKind.AUTH
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "kind: Config", ": : :", "clusters: 3", "\t"])
async def test_an_unusable_kubeconfig(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with the file, the answer names it."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(Permanent, match="kubeconfig"):
        await from_kubeconfig(path)


async def test_a_missing_kubeconfig(tmp_path: Path) -> None:
    """A file that is not there is said not to be there."""
    with pytest.raises(Fault, match="does not exist"):
        await from_kubeconfig(tmp_path / "none")


async def test_a_named_context_wins(tmp_path: Path) -> None:
    """Of several contexts the named one is used, else the current one."""
    users = [{"name": n, "user": {"token": f"token-{n}"}} for n in "ab"]
    clusters = [{"name": n, "cluster": {"server": f"http://{n}.test/"}} for n in "ab"]
    contexts = [{"name": n, "context": {"cluster": n, "user": n}} for n in "ab"]
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps({"current-context": "a", "users": users, "clusters": clusters, "contexts": contexts}))
    current, named = await from_kubeconfig(path), await from_kubeconfig(path, "b")
    assert (current.host, current.api_key) == ("http://a.test", {"BearerToken": "Bearer token-a"})
    assert (named.host, named.api_key) == ("http://b.test", {"BearerToken": "Bearer token-b"})


async def test_an_exec_plugin_gives_the_token_and_renews_it(tmp_path: Path) -> None:
    """A plug-in's token is used, and an expired one is asked for anew before the next request."""
    plugin, count = tmp_path / "plugin", tmp_path / "count"
    credential = '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1",'
    credential += '"status":{"token":"t%s","expirationTimestamp":"2020-01-01T00:00:00Z"}}'
    plugin.write_text(f"#!/bin/sh\necho x >> {count}\nprintf '{credential}' $(wc -l < {count})\n")
    plugin.chmod(0o755)
    run = {"command": str(plugin), "apiVersion": "client.authentication.k8s.io/v1"}
    async with serving() as api:
        config = {
            "current-context": "a",
            "users": [{"name": "a", "user": {"exec": run}}],
            "clusters": [{"name": "a", "cluster": {"server": api.url}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        api.lists = [says(200, {"kind": "PodList"})]
        async with KubeClient(await from_kubeconfig(path)) as client:
            await client.get(PODS)
            await client.get(PODS)
        sent = [asked.headers["Authorization"] for asked in api.asked]
    assert sent == ["Bearer t2", "Bearer t3"]


def test_the_namespace_of_the_pod(tmp_path: Path) -> None:
    """What the pod's description says, else the mounted service account; None outside of a pod."""
    file = tmp_path / "namespace"
    assert pod_namespace(file, {}) is None
    file.write_text("ops\n")
    assert pod_namespace(file, {}) == "ops"
    assert pod_namespace(file, {"POD_NAMESPACE": "shop"}) == "shop"
