"""A short version of `python -m benchmarks.swaps`: models change under load and nobody notices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.processes import Home
from benchmarks.swaps import SETTINGS, swap_under_load, two_models
from tests.e2e.conftest import copied

SWAPS = 10


@pytest.mark.slow
def test_swaps_under_load_fail_no_answer_and_mix_no_models(prepared: Home, tmp_path: Path) -> None:
    settings = {**SETTINGS, "ENCORE_TRAIN_GATE_MARGIN": "-1"}
    home = Home(copied(prepared, tmp_path / "swaps").folder, prepared.secret, settings)
    models = two_models(home)
    assert len(models) == 2
    with home.serve() as server:
        outcome = asyncio.run(swap_under_load(server, models, SWAPS))
    assert outcome.failures == 0
    assert outcome.unexplained == 0
    assert set(outcome.by_model) == set(models)
