"""Pauses of background loops."""

from __future__ import annotations

import asyncio

from app.application.waiting import wait_unless


async def test_a_pause_ends_with_its_time_or_with_the_event() -> None:
    event = asyncio.Event()
    await wait_unless(event, 0.01)
    event.set()
    async with asyncio.timeout(30):
        await wait_unless(event, 3_600)


async def test_a_cancellation_in_the_moment_the_event_is_set_is_not_lost() -> None:
    event = asyncio.Event()
    pausing = asyncio.create_task(wait_unless(event, 60))
    await asyncio.sleep(0)

    event.set()
    pausing.cancel()
    await asyncio.wait([pausing], timeout=30)

    assert pausing.cancelled()
