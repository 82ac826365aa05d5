"""E3 in short: some faults of mock brokers; `python -m benchmarks.broker_faults --faults 100` is the whole proof."""

from __future__ import annotations

import pytest

from benchmarks.broker_faults import run
from tests.servers.plugin import missing
from tests.servers.process import ServerMissingError

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]


def test_what_brokers_acknowledged_is_taken_in_once_whatever_they_do() -> None:
    try:
        assert run(faults=6, seed=7)
    except ServerMissingError as exc:
        missing(exc)
