"""The topology of docker-compose.yml on real servers, end to end."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.servers.plugin import missing
from tests.servers.process import ServerMissingError
from tests.servers.scenario import Rating, run
from tests.servers.stack import Stack

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]

USERS, ITEMS, EACH, TASTES = 150, 120, 25, 4


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Everything started by the compose file's commands; everything must end with exit code 0."""
    started = Stack({"ENCORE_TRAIN_TIME_BUDGET_SECONDS": "5"})
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


def taste_ratings() -> list[Rating]:
    """People rate four out of five times what is of their own taste, and like it."""
    draw = random.Random(3)
    ratings = []
    for user in range(USERS):
        for moment in range(EACH):
            is_taste = draw.random() < 0.8
            item = draw.randrange(ITEMS // TASTES) * TASTES + (user % TASTES if is_taste else draw.randrange(TASTES))
            value = draw.choice([4.0, 4.5, 5.0]) if is_taste else draw.choice([1.0, 2.0, 3.0])
            ratings.append(Rating(f"u{user}", f"v{item}", value, moment + draw.random()))
    return ratings


def test_ratings_through_kafka_become_a_model_that_both_replicas_serve(stack: Stack) -> None:
    ratings = taste_ratings()

    facts = run(stack, ratings)

    assert facts["stored"] == len(ratings)
    assert facts["served_by"] == ["api-1", "api-2"]
    assert facts["refreshed"] > 0
    assert facts["artifact_objects"] >= 3
    assert facts["fresh_seconds"] < 5
