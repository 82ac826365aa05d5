"""The document is true: Schemathesis makes requests from it, valid and not, and checks every answer against it (A1).

A short run; `schemathesis run ADDRESS/openapi.json --checks all` is the long one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.api.house import ADMIN, build
from tests.integration.api.processes import serving

EXCLUDED = "positive_data_acceptance"
"""JSON Schema calls 1.0 an integer and knows nothing of "not in the future" or "start before end"; we do (H14)."""


@pytest.mark.slow
def test_answers_are_as_documented_whatever_is_asked(tmp_path: Path) -> None:
    build(tmp_path)
    with serving(tmp_path, ENCORE_LOG_LEVEL="WARNING", ENCORE_MAX_CONCURRENT_REQUESTS="200") as server:
        options = {
            "--checks": "all",
            "--exclude-checks": EXCLUDED,
            "--exclude-operation-id": "startTraining",  # it starts processes, which a short run should not
            "--phases": "examples,fuzzing",
            "--max-examples": "6",
            "--request-timeout": "20",
            "--seed": "1",
            "--header": f"Authorization: {ADMIN['Authorization']}",
        }
        address = f"http://127.0.0.1:{server.port}/openapi.json"
        arguments = [part for option in options.items() for part in option]
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", address, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-6_000:] + run.stderr[-2_000:]
        assert server.is_alive()
