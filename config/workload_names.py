"""A workload as people and pipelines write it: `namespace/name`, or `namespace/Kind/name`."""

from __future__ import annotations

import re

from daemon.core.model import Workload

KIND = "Deployment"
"""The kind that is meant where none is written."""

CHARS_MAX = 400
"""Longest text that can name a workload: 63 + 63 + 253 and two slashes, rounded up."""

_NAMESPACE = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_KIND = r"[A-Z][A-Za-z0-9]{0,62}"
_NAME = r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"
_WORKLOAD = re.compile(rf"({_NAMESPACE})/(?:({_KIND})/)?({_NAME})")

HELP = "write it as namespace/name or namespace/Kind/name, like shop/web"


def parse(text: str) -> Workload:
    """The workload that `text` names. Raises ValueError with the remedy, and without the text.

    Names are those of Kubernetes: a namespace is an RFC 1123 label, a name an RFC 1123 subdomain.
    """
    found = _WORKLOAD.fullmatch(text) if len(text) <= CHARS_MAX else None
    if found is None:
        raise ValueError(f"is no workload; {HELP}")
    return Workload(namespace=found[1], kind=found[2] or KIND, name=found[3])
