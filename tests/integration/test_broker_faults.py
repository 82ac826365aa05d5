"""E3 in short: some faults of mock brokers; `python -m benchmarks.broker_faults --faults 100` is the whole proof."""

from __future__ import annotations

import pytest

from benchmarks.broker_faults import run
from tests.servers.plugin import missing
from tests.servers.process import ServerMissingError

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]


def test_what_brokers_acknowledged_is_taken_in_once_whatever_they_do() -> None:
    try:
        # a member nobody knows, a leader that moves, a rebalance with a batch in hand, a broker that is away
        assert run(faults=4, seed=16)
    except ServerMissingError as exc:
        missing(exc)
