"""Keep deploy/kubernetes/ what the Helm chart renders, for those who use kustomize or plain kubectl.

`render.py write` renders anew, `render.py check` compares; both need `helm` on PATH. Each folder stands alone: old kubectl
cannot build on another folder. The settings become a file beside the manifests, so that whoever uses the folder edits
a file of settings, and kustomize puts its hash into the ConfigMap's name: a change of it restarts the daemon.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy/helm/lastgood"
OUT = ROOT / "deploy/kubernetes"
MODES = ("observe", "act")
REMEDY = "run `.venv/bin/python .ci/render.py write` and commit the result"
HEAD = "# Rendered from deploy/helm/lastgood by .ci/render.py; do not edit.\n"

# What nobody can guess for the user; each is a line in lastgood.yaml that is to be edited.
VALUES = (
    "config.cluster=change-me",
    "config.prometheus.url=http://prometheus.monitoring:9090",
    "config.alertmanager.urls={http://alertmanager.monitoring:9093}",
)

NAMESPACE = """apiVersion: v1
kind: Namespace
metadata:
  name: lastgood
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""

KUSTOMIZATION = """apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: lastgood
resources:
  - namespace.yaml
  - manifests.yaml
configMapGenerator:
  - name: lastgood
    files:
      - lastgood.yaml
"""

# Helm's own marks mean nothing to kustomize, and a hash of the rendered settings would be that of the unedited ones.
_MARKS = r"helm\.sh/chart|helm\.sh/resource-policy|app\.kubernetes\.io/managed-by|checksum/config"
_DROPPED = re.compile(rf"^ +(?:{_MARKS}): .*\n", re.MULTILINE)
_EMPTIED = re.compile(r"^ +annotations:\n(?= *spec:)", re.MULTILINE)


def helm(mode: str) -> str:
    """What the chart renders in one RBAC mode. Raises CalledProcessError with helm's own words."""
    settings = [part for value in (*VALUES, f"rbac.mode={mode}") for part in ("--set", value)]
    command = ["helm", "template", "lastgood", str(CHART), "--namespace", "lastgood", *settings]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def files(mode: str) -> dict[str, str]:
    """The files of one folder, by name."""
    manifests, settings = [], ""
    for text in re.split(r"^---\n", helm(mode), flags=re.MULTILINE):
        document = yaml.safe_load(text)
        if not document:
            continue
        if document["kind"] == "ConfigMap":
            settings = document["data"]["lastgood.yaml"]
        else:
            body = re.sub(r"^# Source: .*\n", "", text, flags=re.MULTILINE).strip() + "\n"
            manifests.append(_EMPTIED.sub("", _DROPPED.sub("", body)))
    return {
        "kustomization.yaml": HEAD + KUSTOMIZATION,
        "namespace.yaml": HEAD + NAMESPACE,
        "manifests.yaml": HEAD + "---\n".join(manifests),
        "lastgood.yaml": settings,
    }


def faults(out: Path = OUT) -> list[str]:
    """Files below `out` that are not what the chart renders now, a sentence each."""
    found = []
    for mode in MODES:
        for name, text in files(mode).items():
            path = out / mode / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                found.append(f"{path.relative_to(out)}: not what the chart renders; {REMEDY}")
    return found


def main() -> int:
    """Exit code 0 when all is fresh, 1 when not, 2 for a wrong call."""
    if sys.argv[1:] == ["write"]:
        for mode in MODES:
            (OUT / mode).mkdir(parents=True, exist_ok=True)
            for name, text in files(mode).items():
                (OUT / mode / name).write_text(text, encoding="utf-8")
    elif sys.argv[1:] != ["check"]:
        print("usage: render.py check|write")
        return 2
    found = faults()
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
