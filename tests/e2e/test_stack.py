"""The topology of docker-compose.yml on real servers, end to end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.processes import until
from benchmarks.trace_tree import EVENT_STEPS, TRAINING_STEPS, incomplete
from tests.servers.collector import Collector, collecting
from tests.servers.generated_ratings import taste_ratings
from tests.servers.plugin import missing
from tests.servers.process import ServerMissingError
from tests.servers.scenario import TRACE, run
from tests.servers.stack import Stack

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Receives the spans of every process."""
    with collecting() as receiver:
        yield receiver


@pytest.fixture
def stack(collector: Collector) -> Iterator[Stack]:
    """Everything started by the compose file's commands; everything must end with exit code 0."""
    started = Stack({"ENCORE_TRAIN_TIME_BUDGET_SECONDS": "5", "ENCORE_TRACES_URL": collector.url})
    try:
        started.start()
    except ServerMissingError as exc:
        started.stop()
        missing(exc)
    except BaseException:
        started.stop()
        raise
    yield started
    assert set(started.stop().values()) == {0}


def test_ratings_through_kafka_become_a_model_that_both_replicas_serve(stack: Stack, collector: Collector) -> None:
    ratings = taste_ratings()

    facts = run(stack, ratings)

    assert facts["stored"] == len(ratings)
    assert facts["served_by"] == ["api-1", "api-2"]
    assert facts["refreshed"] > 0
    assert facts["artifact_objects"] >= 3
    assert facts["fresh_seconds"] < 5

    # each process exports every five seconds
    for _ in until(15, pause=0.5):
        if (
            problem := incomplete(collector.trace(TRACE.split("-")[1]), (*EVENT_STEPS[-2:], *TRAINING_STEPS), 4)
        ) is None:
            break
    assert problem is None
