"""A cluster without Argo Rollouts and Flagger, as most are: nothing is different for it."""

from __future__ import annotations

import pytest

from tests.handlers.rollback_world import WEB, world
from tests.handlers.test_cluster_watch import watching

pytestmark = pytest.mark.real


async def test_ready_without_them() -> None:
    """The watch is ready, fresh, and tells the Deployment it has; what is not there is known to be absent."""
    async with world() as there, watching(there, flagger=True) as (watch, inbox):
        assert [view.workload for view in inbox.all] == [WEB]
        assert [name for name, each in watch.reflectors.items() if each.absent] == ["rollouts", "canaries"]
        assert watch.age() < 5
        assert watch.cache.workload("default", "rollout", "web") is None
