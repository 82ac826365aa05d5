"""Background loops go on whatever happens, and stop together."""

from __future__ import annotations

import asyncio

from app.application.supervision import keep_running, supervised, watch_lag
from app.application.waiting import Backoff


async def test_a_loop_that_fails_begins_again_and_one_that_returns_is_done() -> None:
    runs = 0

    async def failing_twice() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("again")

    await keep_running("test", failing_twice, Backoff(first_seconds=0.001, max_seconds=0.002))
    assert runs == 3


async def test_loops_run_beside_the_body_and_end_with_it() -> None:
    running = asyncio.Event()
    ended = asyncio.Event()

    async def loop() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with supervised({"loop": loop, "lag": watch_lag}):
        await asyncio.wait_for(running.wait(), 60)
        assert not ended.is_set()
    assert ended.is_set()
