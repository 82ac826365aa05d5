"""Two API processes on the same servers behave as one."""

from __future__ import annotations

import re
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
            pool.map(lambda api: api.list_of("only-here-1"), [api for api, _ in zip(cycle([one, two]), range(240))])
        )
        assert time.monotonic() - began < 55, "longer than the window: this machine is too busy to tell"

        assert sorted({reply.status for reply in replies}) == [200, 429]
        assert sum(reply.status == 200 for reply in replies) == limit
        refused = next(reply for reply in replies if reply.status == 429)
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert one.list_of("only-here-2").status == 200


def test_an_event_taken_by_one_changes_the_next_list_of_the_other(world: World) -> None:
    with Api(world) as one, Api(world) as two:
        for number in range(5):
            before = two.list_of("user-210").body["recommendations"]
            two.list_of("user-210")  # and again from process memory
            seen = before[number % 5]["item_id"]
            tell(one, "user-210", seen)

            after = two.list_of("user-210").body["recommendations"]

            assert seen not in [line["item_id"] for line in after]


def tell(api: Api, user: str, item: str) -> None:
    """An event of this user: no list that anybody made before it may be shown any more."""
    event = {"type": "ItemInteracted", "kind": "view", "item_id": item, "user_id": user}
    taken = api.ask("/api/v1/events", user, {**event, "timestamp": datetime.now(UTC).isoformat()})
    assert taken.status in (200, 202)


def counted(api: Api, metric: str) -> float:
    """A figure of the process's own metrics, 0 while it has none."""
    found = re.search(rf"^{re.escape(metric)} (\S+)$", api.metrics(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_cold_list_is_computed_by_one_process_for_all(world: World) -> None:
    """C1: twenty cold lists, each asked for by fifty at once, half of them of either process."""
    ranked, failed = (
        'encore_stage_seconds_count{stage="rank"}',
        'encore_cache_reads_total{level="shared",outcome="error"}',
    )
    with Api(world) as one, Api(world) as two, ThreadPoolExecutor(32) as pool:
        before = {name: sum(counted(api, name) for api in (one, two)) for name in (ranked, failed)}
        for number in range(20):
            tell(one, f"user-{230 + number}", "film-001")
            wanted = [(api, f"user-{230 + number}") for api in (one, two) for _ in range(25)]
            replies = list(pool.map(lambda each: each[0].list_of(each[1]), wanted))
            assert {reply.status for reply in replies} == {200}
            assert len({str(reply.body["recommendations"]) for reply in replies}) == 1

        after = {name: sum(counted(api, name) for api in (one, two)) for name in (ranked, failed)}

    # A read that Redis did not answer in time is a computation more, on a machine that runs everything at once.
    assert 0 < after[ranked] - before[ranked] <= 20 + after[failed] - before[failed]


def test_a_stale_list_is_shown_while_it_is_renewed_and_says_of_when_it_is(world: World) -> None:
    with Api(world, ENCORE_LIST_TTL_SECONDS="1", ENCORE_MEMORY_LIST_TTL_SECONDS="0.05") as api:
        tell(api, "user-260", "film-001")
        first = api.list_of("user-260").body["as_of"]
        time.sleep(1.3)  # longer than its life, jitter included

        assert api.list_of("user-260").body["as_of"] == first
        deadline = time.monotonic() + 60  # the time it may take where all processors are busy
        while api.list_of("user-260").body["as_of"] == first:
            assert time.monotonic() < deadline, api.metrics()
            time.sleep(0.1)


def test_pages_of_one_list_come_from_both_replicas_whatever_happens_between_them(world: World) -> None:
    user, address = "user-270", "/api/v1/recs/user-270?limit=9"
    with Api(world) as one, Api(world) as two:
        whole = [line["item_id"] for line in one.ask("/api/v1/recs/user-270?limit=100", user).body["recommendations"]]
        shown, cursor = [], ""
        for api in cycle([one, two]):
            body = api.ask(address + cursor, user).body
            shown += [line["item_id"] for line in body["recommendations"]]
            if body["pagination"]["next_cursor"] is None:
                break
            cursor = "&cursor=" + body["pagination"]["next_cursor"]
            tell(api, user, shown[-1])

        assert shown == whole
