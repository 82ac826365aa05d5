"""A world to test in: servers, the demo's data, a trained model, and API processes with callers."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.application.credentials import issue_token
from tests.servers.encore import SECRET, api, encore
from tests.servers.fleet import START
from tests.servers.process import make_folder
from tests.servers.server import Server


@dataclass(frozen=True, slots=True)
class World:
    """The servers by name, and the settings that name them."""

    servers: Mapping[str, Server]
    settings: Mapping[str, str]
    folder: Path

    def stop(self) -> None:
        """Stop the servers."""
        for server in self.servers.values():
            server.stop()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: status, parsed body, how long it took."""

    status: int
    body: Any
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)


class Api:
    """A running API process and its callers."""

    def __init__(self, world: World, **settings: str) -> None:
        self.world = world
        self.process, self.address = api("api", {**world.settings, **settings}, make_folder("api"))
        began = time.monotonic()
        self.process.start()
        self.boot_seconds = time.monotonic() - began

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
        shutil.rmtree(self.process.folder, ignore_errors=True)

    def ask(self, path: str, user: str = "user-002", body: object = None, scopes: tuple[str, ...] = ()) -> Reply:
        """GET, or POST if there is a body, with the user's token."""
        token = issue_token(SECRET, subject=user, scopes=scopes or ("recs:read", "events:write"), now=datetime.now(UTC))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=data, headers=headers)
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text, found = answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as exc:
            with exc:
                status, text, found = exc.code, exc.read(), dict(exc.headers)
        seconds = time.perf_counter() - began
        return Reply(status, json.loads(text) if text else None, seconds, {k.lower(): v for k, v in found.items()})

    def list_of(self, user: str = "user-002") -> Reply:
        """The user's list."""
        return self.ask(f"/api/v1/recs/{user}?limit=5", user)

    def metrics(self) -> str:
        """The process's own metrics."""
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def train(self) -> Reply:
        """Another operator each time (they are rate-limited too) asks for a training."""
        operator = f"operator-{time.monotonic_ns()}"
        return self.ask("/api/v1/recs/train", operator, {"model_type": "popular"}, ("recs:train",))

    def many(self, count: int, users: int, threads: int = 8) -> list[Reply]:
        """Lists of many users at once."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda number: self.list_of(f"user-{number % users + 1:03}"), range(count)))

    def assert_probes(self, ready: int = 200) -> None:
        """Liveness never asks anybody; readiness is as told."""
        live = self.ask("/health/live")
        assert live.status == 200
        assert live.seconds < 1
        assert self.ask("/health/ready").status == ready


def make_world(folder: Path) -> World:
    """Servers of our own, to be broken; the demo's data; a model trained on it. Raises ServerMissingError."""
    with ThreadPoolExecutor() as pool:
        starting = {name: pool.submit(start) for name, start in START.items()}
    servers = {name: start.result() for name, start in starting.items()}
    place, _, query = servers["s3"].url.partition("?")
    settings = {
        **servers["s3"].environment,
        "ENCORE_ENVIRONMENT": "test",
        "ENCORE_DATABASE_URL": servers["postgres"].url,
        "ENCORE_DATABASE_TIMEOUT_SECONDS": "1",
        # Five times the usual patience: a machine that runs everything at once is slower than a network.
        "ENCORE_CACHE_URL": f"{servers['redis'].url}?timeout_ms=250",
        "ENCORE_EVENTS_URL": servers["kafka"].url,
        "ENCORE_ARTIFACTS_URL": f"{place}/world?{query}",
        "ENCORE_ARTIFACT_COPIES": f"{folder}/copies",
        "ENCORE_TRAIN_TIME_BUDGET_SECONDS": "2",
        "ENCORE_MODEL_POLL_SECONDS": "0.2",
        "OMP_NUM_THREADS": "1",
    }
    world = World(servers, settings, folder)
    filling = encore("demo", ["demo", "--no-serve", "--folder", f"{folder}/demo"], settings)
    try:
        filling.start()
        filling.wait(300)
    except BaseException:
        world.stop()
        raise
    finally:
        shutil.rmtree(filling.folder, ignore_errors=True)
    return world
