"""Model swaps under load: every answer arrives, and its items are those of the model that it names (C4, M5).

python -m benchmarks.swaps [SWAPS]. Two lines: answers, and what swapping costs in time and memory; exit 1 if an answer
was wrong or missing, answers took twice as long, or memory was not given back.
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
PER_SECOND, FEWER_PER_SECOND = 100.0, 60.0
STEADY_SECONDS = 10.0
PAUSE_SECONDS = 1.0
"""Between two swaps, so that a hundred of them meet ten thousand requests."""

LATENCY_BAR = 2.0
"""p99 while models are swapped, by p99 under the same load without."""

MEMORY_BAR = 1.1
"""Peak and end, by what the process held under the same load without swaps. The demo's models are small beside it."""

PEOPLE = tuple(f"user-{number:03d}" for number in range(1, 41))
SWAP_TIMEOUT_SECONDS = 15.0
SETTINGS = {"ENCORE_MODEL_POLL_SECONDS": "0.1", "ENCORE_RATE_LIMIT_PER_MINUTE": "1000000"}

Lists = Mapping[tuple[str, str], Sequence[str]]
"""(model, user) → items."""


@dataclass(slots=True)
class Outcome:
    """What a load of so many requests a second saw."""

    per_second: float = FEWER_PER_SECOND
    answers: int = 0
    failures: int = 0
    unexplained: int = 0
    by_model: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    swap_seconds: list[float] = field(default_factory=list)

    def p99_ms(self) -> float:
        """The latency that all but one in a hundred stayed below."""
        ordered = sorted(self.latencies)
        return ordered[int(len(ordered) * 0.99)] * 1_000


@dataclass(slots=True)
class Cost:
    """What the process looked like: under load alone, while models were swapped, afterwards."""

    steady: Outcome = field(default_factory=lambda: Outcome(PER_SECOND))
    steady_bytes: int = 0
    peak_bytes: int = 0
    after_bytes: int = 0

    @property
    def is_given_back(self) -> bool:
        return max(self.peak_bytes, self.after_bytes) <= MEMORY_BAR * self.steady_bytes


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
    """Ask `outcome.per_second` times a second, whether or not answers come, and judge each answer."""
    tokens = {user: server.home.token(user) for user in PEOPLE}
    started, sent, running = time.perf_counter(), 0, set[asyncio.Task[None]]()
    while not stop.is_set():
        task = asyncio.create_task(_ask(server, PEOPLE[sent % len(PEOPLE)], tokens, expected, outcome))
        running.add(task)
        task.add_done_callback(running.discard)
        sent += 1
        await asyncio.sleep(max(0.0, started + sent / outcome.per_second - time.perf_counter()))
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


async def swap_under_load(server: Server, models: Sequence[str], swaps: int, cost: Cost | None = None) -> Outcome:
    """Promote the models in turn, `swaps` times, while the load runs; with `cost`, look at it without swaps first."""
    expected = await lists_by_model(server, models)
    if cost is not None:
        await _steady(server, expected, cost)
    outcome, stop = Outcome(FEWER_PER_SECOND if cost is None else PER_SECOND), asyncio.Event()
    loading = asyncio.create_task(load(server, expected, outcome, stop))
    weighing = asyncio.create_task(_weigh(server, cost or Cost(), stop))
    try:
        for number in range(swaps):
            model_id = models[number % len(models)]
            await promote(server, model_id)
            outcome.swap_seconds.append(await follow(server, model_id))
            await asyncio.sleep(0.0 if cost is None else PAUSE_SECONDS)
    finally:
        stop.set()
        await asyncio.gather(loading, weighing)
    return outcome


async def _steady(server: Server, expected: Lists, cost: Cost) -> None:
    stop = asyncio.Event()
    loading = asyncio.create_task(load(server, expected, cost.steady, stop))
    await asyncio.sleep(STEADY_SECONDS)
    cost.steady_bytes = resident_bytes(server.process.pid)
    stop.set()
    await loading


async def _weigh(server: Server, cost: Cost, stop: asyncio.Event) -> None:
    while not stop.is_set():
        cost.peak_bytes = max(cost.peak_bytes, resident_bytes(server.process.pid))
        await asyncio.sleep(0.02)
    cost.after_bytes = resident_bytes(server.process.pid)


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
        cost = Cost()
        with home.serve() as server:
            outcome = asyncio.run(swap_under_load(server, models, swaps, cost))
    seconds = sorted(outcome.swap_seconds)
    wrong = outcome.failures + outcome.unexplained
    follow_p95 = round(seconds[int(len(seconds) * 0.95)], 2)
    answers = outcome.answers
    report(
        BENCHMARK,
        "failed or unexplained answers",
        wrong,
        "answers",
        answers=answers,
        swaps=swaps,
        follow_p95_s=follow_p95,
    )
    report(
        BENCHMARK,
        "p99 while swapping by p99 without",
        outcome.p99_ms() / cost.steady.p99_ms(),
        "ratio",
        p99_ms=round(outcome.p99_ms(), 1),
        steady_p99_ms=round(cost.steady.p99_ms(), 1),
        memory_steady_mib=round(cost.steady_bytes / 1_048_576),
        memory_peak_mib=round(cost.peak_bytes / 1_048_576),
        memory_after_mib=round(cost.after_bytes / 1_048_576),
    )
    is_swift = outcome.p99_ms() <= LATENCY_BAR * cost.steady.p99_ms()
    if wrong or not is_swift or not cost.is_given_back:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
