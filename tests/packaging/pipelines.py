"""The job snippets of deploy/ci, taken apart into the shell that their pipelines run, and a daemon that they talk to."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.repository import ROOT

TOKEN = "a-source-of-events"
IMAGE = "registry.example/web@sha256:" + "ab" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The shell of one snippet: to ask, to tell one type (`$TYPE` or as text), and what its runner sets."""

    gate: str
    told: dict[str, str]
    env: dict[str, str]


def read(name: str) -> Any:
    """A snippet as YAML."""
    return yaml.safe_load((ROOT / "deploy/ci" / name).read_text(encoding="utf-8"))


def gitlab() -> Pipeline:
    """GitLab runs a job's lines one after the other in one shell, `after_script` in another."""
    content = read("gitlab-ci.yml")
    job = content[".lastgood-told"]
    after = "\n".join(job["after_script"])
    env = {
        **content["variables"],
        "CI_JOB_ID": "77",
        "CI_PROJECT_URL": "https://gitlab.example/shop/web",
        "CI_COMMIT_SHA": "c0ffee" * 6 + "c0ff",
        "GITLAB_USER_LOGIN": "anna",
        "CI_JOB_URL": "https://gitlab.example/shop/web/-/jobs/77",
    }
    told = {
        "deployment.started": "\n".join(job["before_script"]),
        "deployment.finished": f"CI_JOB_STATUS=success\n{after}",
        "deployment.failed": f"CI_JOB_STATUS=failed\n{after}",
    }
    return Pipeline(gate="\n".join(content["lastgood-gate"]["script"]), told=told, env=env)


def github() -> Pipeline:
    """GitHub puts the workflow's `env` around each step; `${{ … }}` is its own."""
    content = read("github-actions.yml")
    (ask,) = content["jobs"]["gate"]["steps"]
    tells = [step["run"] for step in content["jobs"]["deploy"]["steps"] if step["name"].startswith("Tell")]
    assert len(set(tells)) == 1
    assert len(tells) == 2
    env = {
        **{name: value for name, value in content["env"].items() if "${{" not in value},
        "TOKEN": TOKEN,
        "GITHUB_RUN_ID": "99",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REPOSITORY": "shop/web",
        "GITHUB_SHA": "c0ffee" * 6 + "c0ff",
        "GITHUB_ACTOR": "anna",
    }
    types = ("deployment.started", "deployment.finished", "deployment.failed")
    return Pipeline(gate=ask["run"], told={each: f"export TYPE={each}\n{tells[0]}" for each in types}, env=env)


def jenkins() -> Pipeline:
    """Jenkins' `sh` blocks, in the order of the file: tell, ask, deploy."""
    text = (ROOT / "deploy/ci/Jenkinsfile").read_text(encoding="utf-8")
    blocks = re.findall(r"sh '''(.*?)'''", text, re.DOTALL)
    # In Groovy's own strings a backslash joins lines, and \n is a line's end before the shell sees it.
    unescaped = (textwrap.dedent(block).replace("\\\n", "").replace("\\n", "\n") for block in blocks)
    tell, ask, _deploy = unescaped
    types = re.findall(r"tell\('(deployment\.\w+)'\)", text)
    env = {
        **dict(re.findall(r"^\s+([A-Z_]+) = '(.+)'$", text, re.MULTILINE)),
        "BUILD_TAG": "jenkins-web-12",
        "JOB_URL": "https://jenkins.example/job/web/",
        "BUILD_URL": "https://jenkins.example/job/web/12/",
        "GIT_COMMIT": "c0ffee" * 6 + "c0ff",
    }
    return Pipeline(gate=ask, told={each: f"export TYPE={each}\n{tell}" for each in types}, env=env)


@dataclass(slots=True)
class Daemon:
    """Answers the gate and keeps what it is told; without the token it answers nothing."""

    url: str = ""
    reasons: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    told: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def gate(self, request: web.Request) -> web.Response:
        """GET /api/v1/gate/NAMESPACE/NAME?image=…"""
        _authorised(request)
        workload = f"{request.match_info['namespace']}/{request.match_info['name']}"
        self.asked.append((workload, request.query["image"]))
        answer = {"workload": workload, "open": not self.reasons, "reasons": self.reasons, "notes": []}
        return web.json_response({"now": "2026-01-01T00:00:00Z", "image": IMAGE, **answer})

    async def event(self, request: web.Request) -> web.Response:
        """POST /api/v1/events/SOURCE"""
        _authorised(request)
        self.told.append((request.match_info["source"], request.content_type, await request.read()))
        return web.Response(status=202, text="accepted\n")


def _authorised(request: web.Request) -> None:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized


@asynccontextmanager
async def daemon() -> AsyncIterator[Daemon]:
    """One that listens on loopback."""
    found = Daemon()
    app = web.Application()
    app.router.add_get("/api/v1/gate/{namespace}/{name}", found.gate)
    app.router.add_post("/api/v1/events/{source}", found.event)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


async def run(script: str, pipeline: Pipeline, url: str, folder: Path, token: str = TOKEN) -> tuple[int, str]:
    """Run a snippet's shell as a runner does, stopping at the first failure; exit code and output."""
    path = folder / "token"
    path.write_text(token + "\n", encoding="utf-8")
    here = {"LASTGOOD_URL": url, "LASTGOOD_TOKEN_FILE": str(path), "IMAGE": IMAGE, "HOME": str(folder)}
    env = {**pipeline.env, **here, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if "TOKEN" in env:
        env["TOKEN"] = token
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-e",
        "-c",
        script,
        env=env,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
