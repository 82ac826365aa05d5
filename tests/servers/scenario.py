"""The whole topology at work: ratings go in through Kafka, a list comes out that the newest of them has changed.

`python -m tests.servers.scenario RATINGS.csv` (userId,movieId,rating,timestamp) starts the stack, runs it, prints one
JSON object of figures and stops everything; exit 1 if a step does not happen.
"""

from __future__ import annotations

import csv
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from app import spans
from app.application.credentials import issue_token
from tests.servers.encore import SECRET
from tests.servers.s3 import client
from tests.servers.server import run_sync
from tests.servers.stack import Stack, print_to

RATED = "profile-service.video-rated"
STARTED = "recommendation-service.model-training-started"
COMPLETED = "recommendation-service.model-training-completed"
REFRESHED = "recommendation-service.recommendations-refreshed"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The operator's, where nobody has begun another: what comes of the request is part of it, up to the topics."""
NEWEST = timedelta(days=300)
"""Old ratings are moved, in order, into the last days: a live topic refuses what is older than 400."""


@dataclass(frozen=True, slots=True)
class Rating:
    """One rating; `moment` only orders them."""

    user_id: str
    item_id: str
    value: float
    moment: float


class StepError(Exception):
    """A step of the scenario did not happen in time, or was answered by `status`."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


def read_ratings(file: Path) -> Sequence[Rating]:
    """A GroupLens ratings.csv."""
    with file.open(newline="") as lines:
        rows = csv.DictReader(lines)
        return [Rating(row["userId"], row["movieId"], float(row["rating"]), float(row["timestamp"])) for row in rows]


def run(stack: Stack, ratings: Sequence[Rating]) -> dict[str, Any]:
    """All steps on a running stack; the figures. Raises StepError."""
    facts: dict[str, Any] = {"ratings": len(ratings)}
    facts |= store(stack, ratings)
    facts |= train(stack)
    facts["served_by"] = _both_serve(stack, facts["model_id"], ratings[0].user_id)
    facts |= _outgoing(stack, facts["training_id"])
    facts["artifact_objects"] = _artifact_objects(stack)
    facts["fresh_seconds"] = fresh(stack, ratings[0].user_id)
    return facts


def store(stack: Stack, ratings: Sequence[Rating]) -> dict[str, Any]:
    """All ratings through Kafka into the database."""
    began = time.monotonic()
    run_sync(_produce(stack, _messages(ratings)))
    produced = round(time.monotonic() - began, 2)
    _until("the ratings are stored", lambda: run_sync(_count(stack)) >= len(ratings), 180)
    seconds = round(time.monotonic() - began, 2)
    return {"produced_seconds": produced, "stored": run_sync(_count(stack)), "stored_seconds": seconds}


def _messages(ratings: Sequence[Rating]) -> Iterable[tuple[bytes, bytes]]:
    first, last = min(each.moment for each in ratings), max(each.moment for each in ratings)
    start, width = datetime.now(UTC) - NEWEST, (NEWEST - timedelta(minutes=5)).total_seconds()
    for rating in sorted(ratings, key=lambda each: each.moment):
        at = start + timedelta(seconds=width * (rating.moment - first) / max(last - first, 1))
        yield _rated(rating.user_id, rating.item_id, rating.value, at)


def _rated(user_id: str, item_id: str, value: float, at: datetime) -> tuple[bytes, bytes]:
    body = {"user_id": user_id, "video_id": item_id, "rating": value, "timestamp": at.isoformat()}
    return user_id.encode(), json.dumps(body).encode()


async def _produce(stack: Stack, messages: Iterable[tuple[bytes, bytes]], parent: str | None = None) -> None:
    brokers = urlsplit(stack.environment["ENCORE_EVENTS_URL"]).netloc
    headers = None if parent is None else [("traceparent", parent.encode())]
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", linger_ms=5, enable_idempotence=True)
    await producer.start()
    try:
        for key, value in messages:
            await producer.send(RATED, value, key=key, headers=headers)
        await producer.flush()
    finally:
        await producer.stop()


async def _count(stack: Stack) -> int:
    dsn = stack.environment["ENCORE_DATABASE_URL"].replace("+asyncpg", "")
    connection = await asyncpg.connect(dsn, timeout=5, command_timeout=10)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM features.interactions"))
    finally:
        await connection.close()


def train(stack: Stack) -> dict[str, Any]:
    """An operator's POST; the Celery worker does it."""
    began = time.monotonic()
    address = stack.addresses["api-1"]
    job: dict[str, Any] = {}
    _until("no other training runs", lambda: _requested(address, job), 400, pause=1.0)
    path = f"{address}/api/v1/recs/train/{job['training_id']}"
    final: dict[str, Any] = {}

    def is_final() -> bool:
        final.update(_ask(path, "operator", ("recs:train",), traced=False))
        return final["status"] not in ("queued", "running")

    _until("the training ends", is_final, 400)
    if final["status"] != "promoted":
        raise StepError(f"the training ended as {final['status']}: {final.get('reason')}")
    seconds = round(time.monotonic() - began, 1)
    return {"training_id": job["training_id"], "model_id": final["model_id"], "trained_seconds": seconds}


def _requested(address: str, job: dict[str, Any]) -> bool:
    """False while another one runs: the schedule may have started it."""
    try:
        job.update(_ask(address + "/api/v1/recs/train", "operator", ("recs:train",), {"model_type": "hybrid"}))
    except StepError as exc:
        if exc.status != 409:
            raise
        return False
    return True


def _both_serve(stack: Stack, model_id: str, user_id: str) -> list[str]:
    for name, address in stack.addresses.items():
        _until(f"{name} serves the new model", partial(_serves, address, user_id, model_id), 30)
    return list(stack.addresses)


def _serves(address: str, user_id: str, model_id: str) -> bool:
    model = _ask(f"{address}/api/v1/recs/{user_id}", user_id)["model"]
    return model is not None and model["id"] == model_id


def _outgoing(stack: Stack, training_id: str) -> dict[str, Any]:
    """Started before completed, and the lists that were made."""
    started = run_sync(_read(stack, STARTED, lambda event: event.get("training_id") == training_id))
    completed = run_sync(_read(stack, COMPLETED, lambda event: event.get("training_id") == training_id))
    if completed["completion_time"] < started["start_time"] or completed["status"] != "success":
        raise StepError("the training's events contradict each other")
    if not _trace_id(started["traceparent"]) == _trace_id(completed["traceparent"]) == _trace_id(TRACE):
        raise StepError("the training's events have lost the trace of the request")
    refreshed = run_sync(_read(stack, REFRESHED, lambda event: bool(event.get("recommendation_ids"))))
    return {"artifact_path": completed["artifact_path"], "refreshed": len(refreshed["recommendation_ids"])}


def _trace_id(traceparent: str) -> str:
    return traceparent.split("-")[1] if traceparent.count("-") == 3 else ""


async def _read(stack: Stack, topic: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first event of a topic that is wanted."""
    deadline = time.monotonic() + 30
    async with _reader(stack, topic) as reader:
        while time.monotonic() < deadline:
            for records in (await reader.getmany(timeout_ms=500)).values():
                for record in records:
                    event: dict[str, Any] = json.loads(record.value)
                    if wanted(event):
                        return {**event, "traceparent": dict(record.headers).get("traceparent", b"").decode()}
    raise StepError(f"nothing on {topic}")


@asynccontextmanager
async def _reader(stack: Stack, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    brokers = urlsplit(stack.environment["ENCORE_EVENTS_URL"]).netloc
    reader = AIOKafkaConsumer(topic, bootstrap_servers=brokers, auto_offset_reset="earliest")
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


def _artifact_objects(stack: Stack) -> int:
    store = client(stack.environment["ENCORE_ARTIFACTS_URL"], stack.environment)
    found = store.list_objects_v2(Bucket="encore", Prefix="artifacts/models/").get("Contents", [])
    store.close()
    if not found:
        raise StepError("no artifact in the store")
    return len(found)


def fresh(stack: Stack, user_id: str) -> float:
    """Rate, through Kafka, the first item of a list that api-2 has cached: seconds until it is gone from it."""
    path = f"{stack.addresses['api-2']}/api/v1/recs/{user_id}"
    top = _ask(path, user_id)["recommendations"][0]["item_id"]
    began = time.monotonic()
    run_sync(_produce(stack, [_rated(user_id, top, 5.0, datetime.now(UTC))], spans.traceparent()))
    _until("the list changes", lambda: _top(path, user_id) != top, 30, pause=0.01)
    return round(time.monotonic() - began, 3)


def _top(path: str, user_id: str) -> str:
    return str(_ask(path, user_id)["recommendations"][0]["item_id"])


def _ask(
    url: str, subject: str, scopes: Sequence[str] = ("recs:read",), body: object = None, *, traced: bool = True
) -> dict[str, Any]:
    token = issue_token(SECRET, subject=subject, scopes=scopes, now=datetime.now(UTC))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    if traced:
        headers["traceparent"] = spans.traceparent() or TRACE
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as exc:
        with exc:
            raise StepError(f"{exc.code} from {urlsplit(url).path}: {exc.read()[:300]!r}", exc.code) from exc


def _until(what: str, claim: Callable[[], bool], seconds: float, pause: float = 0.2) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            raise StepError(f"not within {seconds:.0f} s: {what}")
        time.sleep(pause)


def main() -> int:
    """Run the scenario on a ratings file."""
    stack = Stack()
    try:
        stack.start(partial(print_to, sys.stderr))
        facts = run(stack, read_ratings(Path(sys.argv[1])))
    except StepError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    finally:
        codes = stack.stop()
    sys.stdout.write(json.dumps({**facts, "exit_codes": dict(codes)}) + "\n")
    return 1 if any(codes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
