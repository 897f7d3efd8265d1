"""`python -m tests.controlplane.run [--minor 1.36] [COMMAND …]`: a control plane by hand.

Starts one (the newest that is built), runs the command, and ends with its exit code. The command gets the admin's
`KUBECONFIG`. Without a command it says where the kubeconfig is, and waits for Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.controlplane import builds
from tests.controlplane.plane import ControlPlane
from tests.controlplane.processes import StartError
from tests.controlplane.steps import BuildError, say


def binaries(minor: str) -> builds.Binaries:
    """Of the minor, or with "" of the newest that is built; BuildError when there is none."""
    for release in builds.releases():
        if release.minor == minor or (not minor and release.built):
            return release.binaries()
    raise BuildError(f"no control plane {minor or 'is built'}; see `python -m tests.controlplane.builds --list`")


def run(plane: ControlPlane, command: list[str]) -> int:
    """The command beside the control plane; its exit code."""
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig())}
    if command:
        return subprocess.run(command, env=environment, check=False).returncode
    say(f"v{plane.minor} is ready: export KUBECONFIG={environment['KUBECONFIG']} (Ctrl-C ends it)")
    try:
        subprocess.run(["sleep", "infinity"], check=False)
    except KeyboardInterrupt:
        pass
    return 0


def main(arguments: list[str]) -> int:
    """The command's exit code; 1 when there is no control plane, or it does not start."""
    parser = argparse.ArgumentParser(prog="python -m tests.controlplane.run", description=__doc__)
    parser.add_argument("--minor", default="", help="for example 1.36; the newest that is built if not given")
    parser.add_argument("--nodes", type=int, default=3, help="simulated nodes (3)")
    parser.add_argument("--folder", type=Path, help="for logs and data; kept (without it: a temporary one)")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        with ControlPlane(binaries(options.minor), nodes=options.nodes, folder=options.folder) as plane:
            return run(plane, options.command[options.command[:1] == ["--"] :])
    except (BuildError, StartError) as error:
        say(f"failed: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
