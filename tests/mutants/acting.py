"""Bugs planted in what comes in and what goes out."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ACTING = (
    Mutant(
        name="precondition-template",
        why="overwrites a newer rollout that lands between reading and patching",
        file="handlers/workload_objects.py",
        old="""        {"op": "test", "path": "/spec/template", "value": fresh.workload["spec"]["template"]},\n""",
        new="",
        tests=("tests/handlers/test_rollback_template.py::test_a_newer_rollout_wins_the_race",),
    ),
    Mutant(
        name="precondition-uid",
        why="patches another object that was made under the same name",
        file="handlers/workload_objects.py",
        old="""        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},\n""",
        new="",
        tests=("tests/handlers/test_rollback_template.py::test_recreated_between_reading_and_patch",),
    ),
    Mutant(
        name="no-dry-run",
        why="sends a patch that the server has not tried",
        file="handlers/outbound/rollback/template.py",
        old="await self._patch(step, dry_run=True)",
        new="pass",
        tests=("tests/handlers/test_rollback_template.py",),
    ),
    Mutant(
        name="silenced-read-as-gone",
        why="takes a silence for recovery (the reading of Alertmanager's API)",
        file="handlers/alertmanager_api.py",
        old="    return AlertStatus.SUPPRESSED",
        new="    return AlertStatus.RESOLVED",
        tests=("tests/handlers/test_alerts_poll_api.py",),
    ),
    Mutant(
        name="webhook-before-journal",
        why="answers 2xx for what is not on disk",
        file="handlers/inbound/alertmanager.py",
        old="            await self._accept(alerts)",
        new='            __import__("asyncio").ensure_future(self._accept(alerts))',
        tests=("tests/handlers/test_alertmanager.py",),
    ),
    Mutant(
        name="mqtt-ack-first",
        why="acknowledges a broker's message before the journal has it",
        file="handlers/inbound/mqtt.py",
        old="        try:\n            notices = self._read(delivery)\n",
        new="        link.acknowledge(delivery)\n        try:\n            notices = self._read(delivery)\n",
        tests=("tests/handlers/test_mqtt.py",),
    ),
    Mutant(
        name="github-unsigned",
        why="takes a forged webhook",
        file="handlers/inbound/github.py",
        old="if not hmac.compare_digest(",
        new="if False and not hmac.compare_digest(",
        tests=("tests/handlers/test_events_github.py",),
    ),
    Mutant(
        name="any-presser",
        why="lets anybody in the channel approve",
        file="handlers/slack_presses.py",
        old="if press.guest or not policy.may_approve(press.actor, workload):",
        new="if press.guest:",
        tests=("tests/handlers/test_slack_presses.py",),
    ),
    Mutant(
        name="watch-from-stale-version",
        why="resumes a watch from a version that the server no longer has",
        file="handlers/reflector.py",
        old='        elif isinstance(fault, Permanent):\n            self._version = ""',
        new="        elif isinstance(fault, Permanent):\n            pass",
        tests=("tests/handlers/test_reflector_loop.py",),
    ),
    Mutant(
        name="half-a-list",
        why="takes half a list for the whole",
        file="handlers/reflector.py",
        old="            version = page.resource_version\n",
        new="            version = page.resource_version\n            self._tell(self.store.prune(found))\n",
        tests=("tests/handlers/test_reflector_loop.py",),
    ),
    Mutant(
        name="deleted-stays",
        why="keeps what was deleted while the watch was away",
        file="handlers/reflector.py",
        old="        contact_at = self._now()\n        self._tell(self.store.prune(found))",
        new="        contact_at = self._now()",
        tests=("tests/handlers/test_reflector_loop.py",),
    ),
)
