"""A real service for tests of the clients, whatever language they are in: `python -m tests.servers.client_service`.

Prints one JSON line (address, tokens) when `encore serve` answers, over SQLite and memory, with two tastes and a model.
Then one command a line on standard input, one JSON line back for each: `kill` and `start` (kill -9 and the same service
again on the same port), `stored USER` (ids of this user's stored events), `quit`. Ends when standard input does.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from app.application.credentials import SCOPES
from tests.integration.api.processes import environment_of, free_port
from tests.integration.api.running_service import api_key, build, token
from tests.servers.encore import status
from tests.servers.process import free_ports

PATIENCE_SECONDS = 240.0
SETTINGS = {"ENCORE_RATE_LIMIT_PER_MINUTE": "1000000", "ENCORE_SERVICE_RATE_LIMIT_PER_MINUTE": "1000000"}
LIMITED = {"ENCORE_RATE_LIMIT_PER_MINUTE": "5"}
"""What the second service allows a person: so little that a test reaches it."""


class Service:
    """One `encore serve` that can be killed and started again."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self._environment = environment_of(folder, **{**SETTINGS, **settings})
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Up when it is alive."""
        log = (self.folder / f"serve-{self._port}.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            env={**self._environment, "ENCORE_PORT": str(self._port)},
            stdout=log,
            stderr=log,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while status(f"{self.address}/health/live") != 200:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no service: {Path(log.name).read_text()[-2_000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Without a word to anybody."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stored(self, user_id: str) -> list[str]:
        """Ids of the events that the database holds, once for each time it holds them."""
        with sqlite3.connect(f"file:{self.folder}/encore.db?mode=ro", uri=True, timeout=10) as connection:
            rows = connection.execute(
                "SELECT i.event_id FROM interactions i JOIN users u ON u.user_key = i.user_key WHERE u.user_id = ?",
                (user_id,),
            ).fetchall()
        return [str(_uuid(row[0])) for row in rows]


def _uuid(value: object) -> UUID:
    return UUID(bytes=value) if isinstance(value, bytes) else UUID(str(value))


def main() -> None:
    """Serve until standard input ends."""
    with tempfile.TemporaryDirectory(prefix="encore-client-service-") as name:
        folder = Path(name)
        build(folder)
        service = Service(folder)
        limited = Service(folder, **LIMITED)
        away = Service(folder, ENCORE_DATABASE_URL=f"postgresql+asyncpg://u:p@127.0.0.1:{free_ports(1)[0]}/x")
        try:
            service.start()
            limited.start()
            away.start()
            say(
                {
                    "address": service.address,
                    "limited_address": limited.address,
                    "away_address": away.address,
                    "user_id": "crime-fan-3",
                    "user_token": token("crime-fan-3", "recs:read", "events:write"),
                    "other_token": token("comedy-fan-2"),
                    "admin_token": token("boss", *SCOPES),
                    "api_key": api_key(folder, "clients", SCOPES),
                }
            )
            for line in sys.stdin:
                if line.strip() == "quit":
                    break
                say(obeyed(service, line.split()))
        finally:
            for running in (service, limited, away):
                running.kill()


def obeyed(service: Service, words: list[str]) -> Any:
    """What one command answers."""
    match words:
        case ["kill"]:
            service.kill()
            return {"killed": True}
        case ["start"]:
            service.start()
            return {"started": True}
        case ["stored", user_id]:
            return {"event_ids": service.stored(user_id)}
    return {"error": "unknown command"}


def say(value: Any) -> None:
    """One JSON line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.pop("ENCORE_CONFIG_FILE", None)
    # What building says goes where it does not disturb the answers.
    main()
