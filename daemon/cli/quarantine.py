"""`quarantine`: what is kept out, for people, and as the ConfigMap that deploy/policies/quarantine reads.

The command prints and a person or a job applies: so the daemon needs no right to write ConfigMaps, and whoever steals its
account cannot lift a quarantine.
"""

from __future__ import annotations

import json
import re
from typing import Any

from daemon.cli.exits import CliError, Exit
from daemon.cli.tables import short
from daemon.cli.terminal import Screen, safe

Document = dict[str, Any]

KEY_MAX = 253
"""Characters of a ConfigMap's key. Source: Kubernetes' API reference, ConfigMap."""

BYTES_MAX = 2**20 - 2**16
"""Of all keys and values: a ConfigMap has a MiB at most, and others may add lines by hand."""

_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def show(document: Document, screen: Screen, where: str | None) -> None:
    """The ConfigMap `namespace/name`, as JSON, where one is named; else the table for people."""
    if where is None:
        tell(document, screen)
    else:
        print(json.dumps(configmap(document, where), indent=2))


def tell(document: Document, screen: Screen) -> None:
    """Every quarantined revision, and by which images it can be told at admission."""
    rows = document["revisions"]
    if not rows:
        screen.line("nothing is quarantined")
        return
    screen.table(("WORKLOAD", "REVISION", "BY", "KEPT OUT BY"), (_row(each) for each in rows))


def _row(found: Document) -> list[str]:
    marks = ", ".join(safe(each) for each in (*found["digests"], *found["images"]))
    named = safe(found["revision"]["label"])
    return [short(found["workload"]), named, safe(found["quarantined_by"]), marks or "nothing: no image of its own"]


def configmap(document: Document, where: str) -> Document:
    """The ConfigMap `namespace/name`: a key for each workload, a digest or reference on each line. Raises CliError."""
    namespace, _, name = where.partition("/")
    lines: dict[str, dict[str, None]] = {}
    for found in document["revisions"]:
        marks = [each for each in (*found["digests"], *found["images"]) if each and not re.search(r"\s", each)]
        if marks:
            lines.setdefault(_key(found["workload"]), {}).update(dict.fromkeys(marks))
    data = {key: "".join(f"{each}\n" for each in found) for key, found in sorted(lines.items())}
    if sum(len(key) + len(text.encode()) for key, text in data.items()) > BYTES_MAX:
        why = f"the list is longer than the {BYTES_MAX} bytes that a ConfigMap takes"
        raise CliError(Exit.REFUSED, why, "release what is long replaced (`lastgood release`)")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "lastgood", "app.kubernetes.io/component": "quarantine"},
        },
        "data": data,
    }


def _key(workload: str) -> str:
    """`shop.Deployment.web`: neither namespaces nor kinds have dots, so no two workloads share one."""
    key = workload.replace("/", ".")
    if len(key) > KEY_MAX or not _KEY.fullmatch(key):
        remedy = "`lastgood release` it, or keep its images out by hand"
        raise CliError(Exit.REFUSED, f"{safe(workload)} cannot be the key of a ConfigMap", remedy)
    return key
