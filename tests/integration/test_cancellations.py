"""Every client, cancelled at random moments from its first connection to the end of its closing, leaves nothing."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from app.infrastructure.database.dialects.connector import Connector
from benchmarks.cancellations import measure
from benchmarks.clients import USES, server_of

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]

COUNT = 25
"""The command does 300 (`python -m benchmarks.cancellations`); of these, five to fifteen left something before."""


@pytest.mark.parametrize(("kind", "server"), [(kind, server_of(kind)) for kind in USES], ids=list(USES))
def test_a_client_cancelled_at_any_moment_leaves_nothing_open(
    kind: str, server: str | None, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = "" if server is None else request.getfixturevalue(f"{server}_url")

    left = measure(kind, COUNT, 5, url, tmp_path)

    assert left.is_nothing, left
    assert left.cancelled > 0


async def test_a_connection_to_postgresql_cancelled_while_it_is_made_is_cut_off_and_nobody_complains(
    postgres_url: str,
) -> None:
    """Without the connector, asyncpg left an error that nobody looked at in two of three cancellations."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    connector, url = Connector(), postgres_url.replace("+asyncpg", "")

    for moment in range(40):
        connecting = asyncio.ensure_future(connector.connect(url, timeout=10))
        await asyncio.sleep(moment * 0.0005)
        connecting.cancel()
        for connection in await asyncio.gather(connecting, return_exceptions=True):
            if not isinstance(connection, BaseException):
                await connection.close()
    await connector.close()
    await asyncio.sleep(0)
    gc.collect()

    assert complaints == []
    assert len(asyncio.all_tasks()) == 1
