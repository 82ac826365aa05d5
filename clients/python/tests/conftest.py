"""The real service, started by the repository's own environment (ENCORE_PYTHON, else its .venv)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Service:
    """Where it runs, tokens for it, and commands to it (tests/servers/client_service.py)."""

    process: subprocess.Popen[str]
    offer: dict[str, str]

    def ask(self, command: str) -> Any:
        """The answer to one command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """`encore serve` over SQLite and memory, with two tastes and a model."""
    python = os.environ.get("ENCORE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    process = subprocess.Popen(
        [python, "-m", "tests.servers.client_service"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, "the service did not start"
    yield Service(process, json.loads(first))
    process.communicate("quit\n", timeout=60)
