"""Two API processes on the same servers behave as one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle

import pytest

from tests.servers.world import Api, World

pytestmark = pytest.mark.real_servers


def test_the_limit_is_exact_across_two_processes(world: World) -> None:
    """C6: 20 connections, two processes, one user; another user is not affected."""
    limit = 60
    with (
        Api(world, ENCORE_RATE_LIMIT_PER_MINUTE=str(limit)) as one,
        Api(world, ENCORE_RATE_LIMIT_PER_MINUTE=str(limit)) as two,
        ThreadPoolExecutor(20) as pool,
    ):
        began = time.monotonic()
        replies = list(
            pool.map(lambda api: api.list_of("user-200"), [api for api, _ in zip(cycle([one, two]), range(240))])
        )
        assert time.monotonic() - began < 55, "longer than the window: this machine is too busy to tell"

        assert sorted({reply.status for reply in replies}) == [200, 429]
        assert sum(reply.status == 200 for reply in replies) == limit
        refused = next(reply for reply in replies if reply.status == 429)
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert one.list_of("user-201").status == 200


def test_an_event_taken_by_one_changes_the_next_list_of_the_other(world: World) -> None:
    with Api(world) as one, Api(world) as two:
        for number in range(5):
            before = two.list_of("user-210").body["recommendations"]
            two.list_of("user-210")  # and again from process memory
            seen = before[number % 5]["item_id"]
            event = {"type": "ItemInteracted", "kind": "view", "item_id": seen, "user_id": "user-210"}
            taken = one.ask("/api/v1/events", "user-210", {**event, "timestamp": datetime.now(UTC).isoformat()})
            assert taken.status in (200, 202)

            after = two.list_of("user-210").body["recommendations"]

            assert seen not in [line["item_id"] for line in after]
