"""The document is true: Schemathesis makes requests from it, valid and not, and checks every answer against it (A1).

A short run; `python -m benchmarks.fuzz` is the long one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz import fuzz
from tests.integration.api.processes import serving
from tests.integration.api.running_service import build


@pytest.mark.slow
def test_answers_are_as_documented_whatever_is_asked(tmp_path: Path) -> None:
    build(tmp_path)
    with serving(tmp_path, ENCORE_LOG_LEVEL="WARNING", ENCORE_MAX_CONCURRENT_REQUESTS="200") as server:
        run = fuzz(server, tmp_path, seed=1, examples=6, phases="examples,fuzzing", timeout_seconds=20)
        assert run.is_clean, run.told
        assert run.cases
