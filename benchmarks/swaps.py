"""Model swaps under load: every answer arrives, and its items are those of the model that it names.

python -m benchmarks.swaps [SWAPS]
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import report, resident_bytes
from benchmarks.processes import Home, Server, demo_home

BENCHMARK = "swaps"
PER_SECOND = 60.0
PEOPLE = tuple(f"user-{number:03d}" for number in range(1, 41))
SWAP_TIMEOUT_SECONDS = 15.0
SETTINGS = {"ENCORE_MODEL_POLL_SECONDS": "0.1", "ENCORE_RATE_LIMIT_PER_MINUTE": "1000000"}

Lists = Mapping[tuple[str, str], Sequence[str]]
"""(model, user) → items."""


@dataclass(slots=True)
class Outcome:
    """What the load saw."""

    answers: int = 0
    failures: int = 0
    unexplained: int = 0
    by_model: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    swap_seconds: list[float] = field(default_factory=list)


async def get_list(port: int, user: str, token: str) -> tuple[int, dict[str, object]]:
    """(status, body) of one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        request = (
            f"GET /api/v1/recs/{user} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode())
        answer = await asyncio.wait_for(reader.read(), SWAP_TIMEOUT_SECONDS)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), json.loads(body)


def items_of(body: Mapping[str, object]) -> Sequence[str]:
    """The items of a list, best first."""
    entries = body["recommendations"]
    assert isinstance(entries, list)
    return [entry["item_id"] for entry in entries]


def model_of(body: Mapping[str, object]) -> str:
    """The model a list names."""
    model = body["model"]
    return str(model["id"]) if isinstance(model, dict) else "none"


async def promote(server: Server, model_id: str) -> None:
    """Promote over HTTP, as an operator's tool does."""
    token = server.home.token("operator", "recs:admin")
    status, body = await asyncio.to_thread(server.request, "POST", f"/api/v1/recs/models/{model_id}/promote", token)
    if status != 200:
        raise RuntimeError(f"promote: status {status}: {body}")


async def follow(server: Server, model_id: str) -> float:
    """Seconds until the server answers with this model."""
    started = time.perf_counter()
    token = server.home.token("watcher")
    while time.perf_counter() - started < SWAP_TIMEOUT_SECONDS:
        _, body = await get_list(server.port, "watcher", token)
        if model_of(body) == model_id:
            return time.perf_counter() - started
        await asyncio.sleep(0.05)
    raise RuntimeError("the server did not follow the promotion")


async def lists_by_model(server: Server, models: Sequence[str]) -> Lists:
    """Each person's list under each model, asked for while nothing else happens."""
    lists: dict[tuple[str, str], Sequence[str]] = {}
    for model_id in models:
        await promote(server, model_id)
        await follow(server, model_id)
        for user in PEOPLE:
            _, body = await get_list(server.port, user, server.home.token(user))
            lists[model_of(body), user] = items_of(body)
    return lists


async def load(server: Server, expected: Lists, outcome: Outcome, stop: asyncio.Event) -> None:
    """Ask PER_SECOND times a second, whether or not answers come, and judge each answer."""
    tokens = {user: server.home.token(user) for user in PEOPLE}
    started, sent, running = time.perf_counter(), 0, set[asyncio.Task[None]]()
    while not stop.is_set():
        task = asyncio.create_task(_ask(server, PEOPLE[sent % len(PEOPLE)], tokens, expected, outcome))
        running.add(task)
        task.add_done_callback(running.discard)
        sent += 1
        await asyncio.sleep(max(0.0, started + sent / PER_SECOND - time.perf_counter()))
    await asyncio.gather(*running)


async def _ask(server: Server, user: str, tokens: Mapping[str, str], expected: Lists, outcome: Outcome) -> None:
    started = time.perf_counter()
    try:
        status, body = await get_list(server.port, user, tokens[user])
    except (OSError, TimeoutError, ValueError, IndexError):
        outcome.failures += 1
        return
    outcome.latencies.append(time.perf_counter() - started)
    outcome.answers += 1
    if status != 200 or body["is_fallback"]:
        outcome.failures += 1
        return
    model_id = model_of(body)
    outcome.by_model[model_id] = outcome.by_model.get(model_id, 0) + 1
    outcome.unexplained += items_of(body) != expected.get((model_id, user))


async def swap_under_load(server: Server, models: Sequence[str], swaps: int) -> Outcome:
    """Promote the models in turn, `swaps` times, while the load runs."""
    expected = await lists_by_model(server, models)
    outcome, stop = Outcome(), asyncio.Event()
    loading = asyncio.create_task(load(server, expected, outcome, stop))
    try:
        for number in range(swaps):
            model_id = models[number % len(models)]
            await promote(server, model_id)
            outcome.swap_seconds.append(await follow(server, model_id))
    finally:
        stop.set()
        await loading
    return outcome


def two_models(home: Home) -> Sequence[str]:
    """Train a second model that differs from the demo's; both ids, the older first."""
    home.run("train", "--seed", "1", ok=False)  # the gate may refuse it: then it is trained again with a wide gate
    models = [model["model_id"] for model in home.ask("models", "list")["models"] if model["artifact_key"]]
    return list(reversed(models))[:2]


def main() -> None:
    """Print failures, unexplained answers, swap times and memory."""
    swaps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        home = demo_home(Path(folder), ENCORE_TRAIN_GATE_MARGIN="-1", **SETTINGS)
        models = two_models(home)
        with home.serve() as server:
            before = resident_bytes(server.process.pid)
            outcome = asyncio.run(swap_under_load(server, models, swaps))
            after = resident_bytes(server.process.pid)
    ordered = sorted(outcome.latencies)
    seconds = sorted(outcome.swap_seconds)
    report(
        BENCHMARK,
        "failed or unexplained answers",
        outcome.failures + outcome.unexplained,
        "answers",
        answers=outcome.answers,
        swaps=swaps,
        p99_ms=round(ordered[int(len(ordered) * 0.99)] * 1_000, 1),
        follow_p95_s=round(seconds[int(len(seconds) * 0.95)], 2),
        memory_before_mib=round(before / 1_048_576),
        memory_after_mib=round(after / 1_048_576),
    )
    if outcome.failures + outcome.unexplained:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
