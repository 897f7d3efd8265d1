"""Where the API server is and how we prove who we are: inside the cluster, by kubeconfig, or at a plain address.

kubernetes-asyncio does this part well (token files, exec plug-ins, client certificates, proxies) and is kept for it.
Two things are added: a token that an exec plug-in issued is renewed (the library leaves that to a task nobody starts),
and every failure is a fault that names the setting.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException
from kubernetes_asyncio.config.incluster_config import load_incluster_config
from kubernetes_asyncio.config.kube_config import load_kube_config

from handlers.faults import FaultKind, Permanent

TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
CA_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where Kubernetes mounts a pod's service account (documentation: Accessing the API from within a Pod)."""


def pod_namespace(file: Path = NAMESPACE_FILE, environ: Mapping[str, str] = os.environ) -> str | None:
    """The namespace of the pod that we run in; None where we run in none."""
    try:
        return environ.get("POD_NAMESPACE") or file.read_text().strip() or None
    except OSError:
        return None


def in_cluster(
    *, token_file: Path = TOKEN_FILE, ca_file: Path = CA_FILE, environ: Mapping[str, str] = os.environ
) -> Configuration:
    """Access by the pod's service account; its token file is read anew every minute (kubelet rotates it).

    Raises Permanent where we do not run in a pod or the account's token is not mounted.
    """
    configuration = Configuration()
    try:
        load_incluster_config(  # type: ignore[no-untyped-call]
            configuration, token_filename=str(token_file), cert_filename=str(ca_file), environ=environ
        )
    except (ConfigException, OSError) as exc:
        raise Permanent(f"no in-cluster access to Kubernetes: {exc}", FaultKind.AUTH) from None
    return configuration


async def from_kubeconfig(path: Path, context: str | None = None) -> Configuration:
    """Access as the kubeconfig file says, by its current context unless one is named. The file is never written.

    Raises Permanent where the file is missing or unusable.
    """
    if not path.is_file():  # noqa: ASYNC240 - once at start, as are the reads of the loader
        raise Permanent(f"kubeconfig {path} does not exist", FaultKind.AUTH)
    configuration = Configuration()
    try:
        loader = await load_kube_config(
            config_file=str(path), context=context, client_configuration=configuration, persist_config=False
        )
    except (ConfigException, OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AssertionError) as exc:
        # The library answers a file of the wrong shape with whatever its code stumbles over; only its own message
        # is fit for a person, and none of the others is sure to hold no credentials.
        detail = str(exc) if isinstance(exc, ConfigException) else type(exc).__name__
        raise Permanent(f"kubeconfig {path} is unusable: {detail}", FaultKind.AUTH) from None
    if _has_exec_plugin(loader):
        configuration.refresh_api_key_hook = _exec_renewal(loader)
    return configuration


def from_url(url: str, *, token: str = "", ca_file: Path | None = None) -> Configuration:
    """Access at a plain address, by bearer token where one is given: the sandbox, `kubectl proxy`, tests."""
    configuration = Configuration(host=url.rstrip("/"))
    if token:
        configuration.api_key["BearerToken"] = f"Bearer {token}"
    if ca_file is not None:
        configuration.ssl_ca_cert = str(ca_file)
    return configuration


def _has_exec_plugin(loader: Any) -> bool:
    user = loader._user  # noqa: SLF001 - the library has no public way to ask which method it chose
    return user is not None and "exec" in user


def _exec_renewal(loader: Any) -> Any:
    async def renew(configuration: Configuration) -> None:
        # Runs the plug-in only when the token it gave has expired; a plug-in that gives certificates sets no token.
        await loader.load_from_exec_plugin()
        if hasattr(loader, "token"):
            configuration.api_key["BearerToken"] = loader.token

    return renew
