"""Encore as its users run it: real processes, started by their command line on a folder of their own.

For benchmarks and for tests/e2e. Needs nothing but the embedded adapters; other URLs can be given as settings.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.application.credentials import issue_token

ROOT = Path(__file__).resolve().parent.parent
COMMAND_TIMEOUT_SECONDS = 300.0
START_TIMEOUT_SECONDS = 60.0
REQUEST_TIMEOUT_SECONDS = 15.0


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Home:
    """A folder with a database, artifacts and a secret, and the environment that makes every command use it."""

    folder: Path
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What commands are started with: nothing of ours is inherited; an empty setting is one that is not made."""
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("ENCORE_")}
        wanted = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "ENCORE_ENVIRONMENT": "test",
            "ENCORE_DATABASE_URL": self.database_url,
            "ENCORE_ARTIFACTS_URL": f"file:{self.folder}/artifacts",
            "ENCORE_JWT_SECRET": self.secret,
            "ENCORE_TRAIN_TIME_BUDGET_SECONDS": "5",
            **self.settings,
        }
        return {**inherited, **{name: value for name, value in wanted.items() if value}}

    @property
    def database_url(self) -> str:
        """Where the database of this folder is."""
        return f"sqlite+aiosqlite:///{self.folder}/encore.db"

    def start(self, *arguments: str, core: int | None = None, **pipes: Any) -> subprocess.Popen[str]:
        """Start `encore …` and do not wait."""
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        command = [*pinned, sys.executable, "-m", "app.cli", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, text=True, **pipes)

    def run(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `encore …` to its end; with `ok`, anything but exit 0 raises with what it said."""
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=COMMAND_TIMEOUT_SECONDS)
        except BaseException:
            process.kill()
            raise
        if ok and process.returncode:
            raise RuntimeError(f"encore {' '.join(arguments)}: exit {process.returncode}: {err[-2_000:]}")
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def ask(self, *arguments: str) -> Any:
        """Run `encore … --json` and return what it printed, parsed."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def token(self, user_id: str, *scopes: str) -> str:
        """A token that this folder's server accepts."""
        return issue_token(
            self.secret, subject=user_id, scopes=scopes or ("recs:read", "events:write"), now=datetime.now(UTC)
        )

    def serve(self, *, core: int | None = None, port: int | None = None, **settings: str) -> Server:
        """Start `encore serve` and wait until it is ready."""
        return Server(self, free_port() if port is None else port, core, settings)


class Server:
    """A running `encore serve`. A context manager: leaving it stops the process in order."""

    def __init__(self, home: Home, port: int, core: int | None, settings: Mapping[str, str]) -> None:
        self.home = home
        self.port = port
        self.log = home.folder / f"serve-{port}.log"
        served = Home(home.folder, home.secret, {**home.settings, **settings, "ENCORE_PORT": str(port)})
        with self.log.open("a") as log:
            self.process = served.start("serve", core=core, stdout=log, stderr=log)
        try:
            self._wait()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def request(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> tuple[int, dict[str, Any]]:
        """(status, parsed body) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_TIMEOUT_SECONDS)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = None if body is None else json.dumps(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        with contextlib.closing(connection):
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")

    def list_for(self, user_id: str, query: str = "") -> dict[str, Any]:
        """A user's list, asked for with that user's own token."""
        status, body = self.request("GET", f"/api/v1/recs/{user_id}{query}", self.home.token(user_id))
        if status != 200:
            raise RuntimeError(f"status {status}: {body}")
        return body

    def send(self, user_id: str, events: Sequence[Mapping[str, object]]) -> dict[str, Any]:
        """Post events with that user's token."""
        status, body = self.request("POST", "/api/v1/events", self.home.token(user_id), list(events))
        if status >= 300:
            raise RuntimeError(f"status {status}: {body}")
        return body

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()

    def _wait(self) -> None:
        for _ in until(START_TIMEOUT_SECONDS):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/health/ready")[0] == 200:
                    return
        raise RuntimeError(f"encore serve is not ready: {self.log.read_text()[-2_000:]}")


def until(seconds: float, pause: float = 0.05) -> Iterator[None]:
    """Loop for at most `seconds`: `for _ in until(5): if done(): break`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)


def demo_home(folder: Path, **settings: str) -> Home:
    """A folder with the demo's data and a trained model."""
    home = Home(folder, settings=settings)
    home.run("demo", "--no-serve", "--folder", str(folder))
    return home
