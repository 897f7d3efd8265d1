"""What a daemon that stands by shows on `/metrics`: nothing of what only the one that leads knows."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from daemon.listening import Parts, network
from handlers.server import HttpServer, ServerLimits
from tests.fuzz.surface import parts_in

pytestmark = pytest.mark.real


async def shown(parts: Parts) -> dict[str, float]:
    """Each line of `/metrics`: the series and its value."""
    server = HttpServer(ServerLimits(shutdown_seconds=1))
    host, port = await server.serve_tcp(network(parts), host="127.0.0.1", port=0)
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
    finally:
        await server.close()
    return {name: float(value) for line in lines if not line.startswith("#") for name, value in [line.rsplit(" ", 1)]}


async def test_a_standby_shows_nothing_of_what_grows_old(tmp_path: Path) -> None:
    """The proposal in the journal is the leader's to show: a standby's picture of it would fire its alerts for ever."""
    proposed = 'lastgood_incidents{phase="proposed"}'
    async with parts_in(tmp_path) as parts:
        leads = await shown(parts)
        assert (leads["lastgood_leader"], leads[proposed], leads["lastgood_lease_enabled"]) == (1, 1, 0)
        await parts.engine.stand_by(lambda: "lastgood-1_x")
        stands_by = await shown(parts)
        assert (stands_by["lastgood_leader"], stands_by["lastgood_ready"], stands_by[proposed]) == (0, 1, 0)
        assert leads.keys() - {name for name in leads if "scorecard" in name} <= stands_by.keys(), "0 is not no data"
