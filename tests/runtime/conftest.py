"""What many tests of the runtime begin with: an engine, or a dispatcher, whose tasks are ended with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.runtime.desk import Desk
from tests.runtime.dispatch_bench import Bench


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.supervisor.stop()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.supervisor.stop()
