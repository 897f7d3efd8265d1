"""Runs the real kubectl against the sandbox's API server."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from deploy.sandbox.kube import SandboxCluster

KUBECTL_SECONDS = 20.0
"""For one call of kubectl, discovery and waiting included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubectlCommand:
    """Runs kubectl on one cluster with a home of its own."""

    cluster: SandboxCluster
    folder: Path
    binary: Path

    async def ask(self, *arguments: str) -> tuple[int, str]:
        """The exit code and everything that was printed."""
        config = self.cluster.write_kubeconfig(self.folder / "config")
        process = await asyncio.create_subprocess_exec(
            self.binary,
            f"--kubeconfig={config}",
            *arguments,
            env={**os.environ, "HOME": str(self.folder)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), KUBECTL_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode()

    async def __call__(self, *arguments: str) -> str:
        """What was printed; fails when kubectl does."""
        code, output = await self.ask(*arguments)
        assert code == 0, output
        return output
