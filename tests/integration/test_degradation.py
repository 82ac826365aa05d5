"""Design §10, row by row, against real processes: each dependency refused and frozen.

Answers are marked, probes are as written. Each test starts an API process of its own
in the world of conftest.py and mends what it broke.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.servers.process import ServerProcess
from tests.servers.server import Server
from tests.servers.world import Api, Reply, World

pytestmark = pytest.mark.real_servers

FAULTS = ("refused", "frozen")
STUCK_SECONDS = 10.0
"""Whatever is broken, nobody waits this long: D1's bar of 1.5 s is measured by benchmarks/outages.py."""
RECOVERY_SECONDS = 60.0


def broken(server: Server, fault: str) -> ServerProcess:
    """Kill it (connections are refused) or freeze it (they stay open and nothing answers)."""
    control = server.control
    control.pause() if fault == "frozen" else control.kill()
    return control


@pytest.fixture
def break_server(world: World) -> Iterator[Callable[[str, str], Callable[[], None]]]:
    """Break a server by name and fault; returns what mends it, which happens at the end in any case."""
    mends: list[Callable[[], None]] = []

    def break_it(name: str, fault: str) -> Callable[[], None]:
        control = broken(world.servers[name], fault)
        mended = False

        def mend() -> None:
            nonlocal mended
            if not mended:
                mended = True
                control.resume() if fault == "frozen" else control.restart()

        mends.append(mend)
        return mend

    yield break_it
    for mend in mends:
        mend()


Break = Callable[[str, str], Callable[[], None]]


def assert_in_time(replies: list[Reply]) -> None:
    """Nobody waited for what is broken."""
    assert max(reply.seconds for reply in replies) < STUCK_SECONDS


def until(claim: Callable[[], bool], seconds: float) -> bool:
    """True as soon as `claim` holds, False if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if claim():
            return True
        time.sleep(0.1)
    return claim()


# ── cache ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", FAULTS)
def test_without_the_cache_lists_are_computed_and_operators_are_turned_away(
    world: World, break_server: Break, fault: str
) -> None:
    """C2, C7."""
    with Api(world, ENCORE_RATE_LIMIT_PER_MINUTE="20", ENCORE_REPLICAS="2") as served:
        assert served.list_of().status == 200
        mend = break_server("redis", fault)

        replies = served.many(200, users=100)
        assert {reply.status for reply in replies} == {200}
        assert {reply.body["fallback_reason"] for reply in replies} == {None}
        assert_in_time(replies)
        assert served.train().status == 503
        served.assert_probes()
        alone = [served.list_of("user-300").status for _ in range(12)]
        assert alone == [200] * 10 + [429] * 2  # half of 20: there are two replicas

        mend()
        assert until(lambda: served.train().status in (202, 409), RECOVERY_SECONDS)


# ── database ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", FAULTS)
def test_without_the_database_known_lists_go_on_and_others_get_a_marked_fallback(
    world: World, break_server: Break, fault: str
) -> None:
    """D1, D4."""
    with Api(world) as served:
        known = served.list_of("user-010")
        assert known.status == 200
        mend = break_server("postgres", fault)

        again = served.list_of("user-010")
        assert (again.status, again.body["recommendations"]) == (200, known.body["recommendations"])
        replies = served.many(200, users=100)
        assert {reply.status for reply in replies} <= {200, 503}
        assert_in_time(replies)
        stranger = served.list_of("user-399")
        assert stranger.status == 200
        assert stranger.body["is_fallback"]
        assert stranger.body["fallback_reason"] == "database_unavailable"
        assert stranger.body["recommendations"]
        event = {"kind": "like", "item_id": "film-001", "user_id": "user-010", "type": "ItemInteracted"}
        refused = served.ask("/api/v1/events", "user-010", {**event, "timestamp": datetime.now(UTC).isoformat()})
        assert refused.status == 503
        assert "retry-after" in refused.headers
        served.assert_probes()

        mend()
        assert until(lambda: not served.list_of("user-398").body["is_fallback"], RECOVERY_SECONDS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_starts_without_the_database_and_finds_it_later(
    world: World, break_server: Break, fault: str
) -> None:
    mend = break_server("postgres", fault)
    with Api(world) as served:
        answer = served.list_of("user-020")
        assert answer.status == 200
        assert (answer.body["recommendations"], answer.body["fallback_reason"]) == ([], "no_model")
        served.assert_probes(ready=503)  # no model and no list anywhere: the one case for red

        mend()
        assert until(lambda: served.ask("/health/ready").status == 200, RECOVERY_SECONDS)
        assert until(lambda: served.list_of("user-020").body["model"] is not None, RECOVERY_SECONDS)


# ── artifact store ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", FAULTS)
def test_without_the_artifact_store_the_model_in_memory_goes_on(world: World, break_server: Break, fault: str) -> None:
    with Api(world) as served:
        assert served.list_of().body["model"] is not None
        break_server("s3", fault)

        answer = served.list_of("user-031")

        assert (answer.status, answer.body["is_fallback"]) == (200, False)
        served.assert_probes()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_starts_from_the_copy_on_its_disk(world: World, break_server: Break, fault: str) -> None:
    """M6 with a local copy."""
    with Api(world) as served:
        model, usual_seconds = served.list_of().body["model"], served.boot_seconds
    break_server("s3", fault)

    with Api(world) as served:
        assert served.boot_seconds < 2 * usual_seconds + 8  # nobody waits for the store
        answer = served.list_of("user-032")
        assert answer.body["model"] == model
        assert not answer.body["is_fallback"]
        served.assert_probes()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_without_a_copy_starts_on_popularity_and_takes_the_model_when_the_store_is_back(
    world: World, break_server: Break, tmp_path: Path, fault: str
) -> None:
    """M6 without a local copy."""
    mend = break_server("s3", fault)
    with Api(world, ENCORE_ARTIFACT_COPIES=str(tmp_path)) as served:
        answer = served.list_of("user-033")
        assert answer.status == 200
        assert answer.body["model"] is None
        assert answer.body["is_fallback"]
        assert answer.body["recommendations"]
        served.assert_probes()

        mend()
        assert until(lambda: served.list_of("user-033").body["model"] is not None, RECOVERY_SECONDS + 15)


# ── broker ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", FAULTS)
def test_without_the_broker_reads_and_events_go_on(world: World, break_server: Break, fault: str) -> None:
    break_server("kafka", fault)
    with Api(world) as served:
        replies = served.many(100, users=100)
        assert {reply.status for reply in replies} == {200}
        assert_in_time(replies)
        event = {"kind": "like", "item_id": "film-001", "user_id": "user-011", "type": "ItemInteracted"}
        taken = served.ask("/api/v1/events", "user-011", {**event, "timestamp": datetime.now(UTC).isoformat()})
        assert taken.status in (200, 202), taken.body
        served.assert_probes()
