"""Keep the lock files and pyproject.toml together.

`lock.py write` resolves anew (needs the network and uv on PATH). `lock.py check` needs neither: it compares the
fingerprint of pyproject's requirements with the one in each lock's first lines, and each requirement with its pin.
A lock names no address of any index, so that whoever installs from it chooses where packages come from; the hashes
say what must arrive.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
RUNTIME, DEV = "requirements.lock", "requirements-dev.lock"
REMEDY = "run `make lock` and commit the result"

# --universal: one file for Linux on x86_64 and aarch64, Python 3.11 and later, told apart by markers.
COMPILE = (
    "uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate "
    "--no-emit-index-url --no-emit-find-links pyproject.toml"
).split()


def requirements() -> dict[str, list[str]]:
    """What pyproject.toml asks for, by lock file. The runtime's is what the image holds: the optional parts, too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    runtime = project["dependencies"] + optional["postgres"]
    return {RUNTIME: sorted(runtime), DEV: sorted({*runtime, *optional["dev"]})}


def fingerprint(wanted: list[str]) -> str:
    """SHA-256 of the requirements, in hex: changes with any of them, and with nothing else."""
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def write() -> None:
    """Resolve both locks; the runtime's pins bind the dev lock, so that what is tested is what is shipped."""
    image = ["--extra", "postgres"]
    for name, extra in ((RUNTIME, image), (DEV, [*image, "--extra", "dev", "--constraint", RUNTIME])):
        print(f"resolving {name}", flush=True)
        pins = subprocess.run([*COMPILE, *extra], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        head = "# Made from pyproject.toml by `make lock`; do not edit.\n"
        head += f"# requirements: sha256={fingerprint(requirements()[name])}\n"
        (ROOT / name).write_text(head + pins)


def faults(name: str, wanted: list[str]) -> list[str]:
    """What is wrong with one lock, a sentence each."""
    path = ROOT / name
    if not path.exists():
        return [f"{name}: missing; {REMEDY}"]
    text = path.read_text()
    found = [] if f"sha256={fingerprint(wanted)}" in text else [f"{name}: older than pyproject.toml; {REMEDY}"]
    if "://" in text or re.search(r"^\s*-", text.replace("    --hash=", ""), re.MULTILINE):
        found.append(f"{name}: holds an address or an option; a lock holds pins and hashes only; {REMEDY}")
    pins = {
        canonicalize_name(pin): version for pin, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }
    for requirement in map(Requirement, wanted):
        pin = pins.get(canonicalize_name(requirement.name))
        if pin is None or not requirement.specifier.contains(pin, prereleases=True):
            found.append(f"{name}: {requirement} is not met by {pin or 'any pin'}; {REMEDY}")
    return found


def main() -> int:
    """Exit code 0 when both locks are fresh, 1 when not, 2 for a wrong call."""
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:] != ["check"]:
        print("usage: lock.py check|write")
        return 2
    found = [fault for name, wanted in requirements().items() for fault in faults(name, wanted)]
    print("\n".join(found) or f"locks: fresh ({RUNTIME}, {DEV})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
