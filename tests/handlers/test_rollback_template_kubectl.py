"""Real kubectl as oracle: what it calls an undo, and what it calls rolled out."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest

from handlers import revisions, views, workload_objects
from handlers.kinds import standing_of
from handlers.outbound.rollback.template import TemplateRollback
from tests.handlers.rollback_world import WEB, Json, WallClock, World, until, world
from tests.parts import require

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]


async def kubectl(there: World, folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the real thing."""
    config = there.cluster.write_kubeconfig(folder / "kubeconfig")
    command = [str(require("kubectl")), "--kubeconfig", str(config), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={"HOME": str(folder)}
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def bare(template: Json) -> Json:
    """Without what says nothing: a null, which kubectl's types write and leave out as they like."""
    copied = copy.deepcopy(template)
    metadata: dict[str, Any] = copied["metadata"]
    copied["metadata"] = {key: value for key, value in metadata.items() if value is not None}
    return copied


async def test_the_template_is_the_one_that_kubectl_writes(tmp_path: Path) -> None:
    """`kubectl rollout undo --to-revision` and we put the same template on the object."""
    async with world() as theirs:
        code, out = await kubectl(theirs, tmp_path, "rollout", "undo", "deployment/web", "--to-revision=1")
        assert code == 0, out
        expected = theirs.web()["spec"]
    async with world() as ours:
        await TemplateRollback(ours.client, WallClock()).run(ours.action())
        written = ours.web()["spec"]
    assert bare(written["template"]) == bare(expected["template"])
    assert {**written, "template": 0} == {**expected, "template": 0}


async def test_converged_is_what_rollout_status_says(tmp_path: Path) -> None:
    """At every step of a rollback that `rollout status` answers, we say the same of the same generation."""
    async with world() as there:
        await TemplateRollback(there.client, WallClock()).run(there.action())
        answers = set()
        while True:
            before = there.web()
            _, out = await kubectl(there, tmp_path, "rollout", "status", "deployment/web", "--watch=false")
            if there.web() != before:
                continue  # kubectl may have seen another state
            said = "successfully rolled out" in out
            assert standing_of(before).converged is said, out
            answers.add(said)
            if said:
                break
        code, out = await kubectl(there, tmp_path, "rollout", "status", "deployment/web", "--timeout=10s")
        assert code == 0, out
        assert standing_of(await there.settled()).converged
        assert True in answers


async def test_kubectls_undo_after_ours_is_not_ours(tmp_path: Path) -> None:
    """A person who undoes our rollback gets a rollout of their own."""
    async with world() as there:
        await TemplateRollback(there.client, WallClock()).run(there.action())
        await there.settled()
        code, out = await kubectl(there, tmp_path, "rollout", "undo", "deployment/web")
        assert code == 0, out
        after = await until(there.web, lambda o: views.action_on(o) is None)
        assert revisions.template_hash(after["spec"]["template"]) == there.v2.id
        probed = await TemplateRollback(there.client, WallClock()).probe(there.action())
        assert probed is not None
        assert "replaced" in probed.message


async def test_a_restart_is_told_from_a_change(tmp_path: Path) -> None:
    """`kubectl rollout restart` makes another revision of the same content."""
    async with world() as there:
        code, out = await kubectl(there, tmp_path, "rollout", "restart", "deployment/web")
        assert code == 0, out
        fresh = await workload_objects.read(there.client, WEB)
        assert fresh is not None
        after = revisions.revision_of(fresh.workload)
        assert after.id != there.v2.id
        assert after.content == there.v2.content
        assert revisions.changed_by(fresh.workload) == "kubectl-rollout"
