"""The whole miss path: cache read, history from SQLite, fold-in, scores, filter, rank, cache write, page.

python -m benchmarks.miss_path [items …]        default 10000 40000 100000; above 100,000 items through FAISS

Generated data with genres; a blend of every family that can be fitted at that size; people with 200 events; each
request is for a list that no cache has. Also: sessions of 200 items, and the parts of the time.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import scipy.sparse as sp

from app.application.artifacts.model_artifacts import save_model
from app.application.ranking.list_ranking import RankingTask, rank_list
from app.bootstrap import Container, make_recorder, make_serving, open_container
from app.config import Settings
from app.domain.dataset import Dataset, Features, Histories, IdMap
from app.domain.entities import Interaction, Kind, ModelStatus, ModelVersion
from app.domain.list_query import Filters, ListQuery, SessionEvent, SessionQuery
from app.domain.recommender import Recommender
from app.domain.stores import IngestBatch
from app.infrastructure.database.migrate import migrate
from app.models import RECOMMENDERS
from benchmarks.machine import report

BENCHMARK = "miss path"
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
PEOPLE, HISTORY, GENRES, USERS, EVENTS_EACH = 50, 200, 20, 8_000, 40
ROUNDS = 300
BLEND: Mapping[str, Any] = {
    "members": {"ials": {"factors": 128, "epochs": 2}, "content": {}, "rp3": {}, "popularity": {}},
    "weights": {
        "ials": [0.0, 0.5, 1.0],
        "content": [0.0, 0.3, 0.2],
        "rp3": [0.0, 0.5, 0.5],
        "popularity": [1.0, 0.5, 0.05],
    },
    "knots": [0, 3, 20],
}


def generated(n_items: int) -> Dataset:
    """People who like two genres of twenty, and popular things."""
    random = np.random.default_rng(0)
    genre = np.arange(n_items) % GENRES
    per_genre = n_items // GENRES
    rank = (per_genre * random.random((USERS, EVENTS_EACH)) ** 2.5).astype(int)
    liked = np.take_along_axis(
        random.integers(0, GENRES, (USERS, 2)), random.integers(0, 2, (USERS, EVENTS_EACH)), axis=1
    )
    items = np.sort(rank * GENRES + liked, axis=1)
    pairs = [np.unique(row) for row in items]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in pairs])]).astype(np.int64)
    flat = np.concatenate(pairs).astype(np.int32)
    times = NOW.timestamp() - 60.0 * np.arange(len(flat), dtype=np.float64)
    histories = Histories(indptr, flat, np.ones(len(flat), np.float32), times, NOW.timestamp())
    matrix = sp.csr_matrix((np.ones(n_items, np.float32), (np.arange(n_items), genre)))
    names = tuple(f"genre:{number:02}" for number in range(GENRES))
    return Dataset(
        IdMap(f"u{n}" for n in range(USERS)), IdMap(f"i{n}" for n in range(n_items)), histories, Features(matrix, names)
    )


def fitted(dataset: Dataset) -> Recommender:
    """The blend on these data."""
    recommender = RECOMMENDERS.build("hybrid", BLEND)
    recommender.fit(dataset, seed=0, progress=lambda _stage, _fraction: None)
    return recommender


def interactions(n_items: int) -> Sequence[Interaction]:
    """200 events for each of 50 people, of the two genres of each."""
    random = np.random.default_rng(1)
    events = []
    for person in range(PEOPLE):
        ranks = random.choice(n_items // GENRES, HISTORY // 2, replace=False)
        for number, rank in enumerate(np.repeat(ranks, 2).tolist()):
            item = rank * GENRES + (person + number % 2) % GENRES
            at = NOW - timedelta(minutes=number)
            identity = UUID(int=person * HISTORY + number)
            events.append(Interaction(identity, f"p{person}", f"i{item}", Kind.RATING, at, 5.0))
    return events


async def prepare(container: Container, n_items: int) -> Recommender:
    """Store events and a promoted model."""
    dataset = generated(n_items)
    started = time.perf_counter()
    recommender = await asyncio.to_thread(fitted, dataset)
    sys.stderr.write(f"{n_items} items: fitted in {time.perf_counter() - started:.1f} s\n")
    assert dataset.item_features is not None
    key, sha256 = await save_model(
        container.artifacts, f"models/hybrid/{n_items}", recommender, dataset.items, dataset.item_features.names, {}
    )
    model = ModelVersion(f"bench-{n_items}", "hybrid", 1, ModelStatus.CANDIDATE, NOW, None, key, sha256)
    await container.database.models.add(model)
    await container.database.models.promote(model.model_id, token=None, expected=None, at=NOW)
    events = interactions(n_items)
    for start in range(0, len(events), 1_000):
        await container.database.interactions.ingest(IngestBatch(events[start : start + 1_000]))
    return recommender


def percentiles(seconds: Sequence[float], figure: str, **more: object) -> None:
    """Print p50 and p95 in milliseconds."""
    for percent in (50, 95):
        report(BENCHMARK, f"{figure} p{percent}", float(np.percentile(seconds, percent)) * 1_000, "ms", **more)


async def measure(n_items: int, folder: Path) -> None:
    """All figures of one catalog size."""
    url = f"sqlite+aiosqlite:///{folder}/encore.db"
    migrate(url)
    settings = Settings(environment="test", database_url=url, artifacts_url=f"file:{folder}/artifacts")
    async with AsyncExitStack() as stack:
        container = await stack.enter_async_context(open_container(settings, lambda: NOW))
        await prepare(container, n_items)
        serving = make_serving(container, make_recorder(container))
        stack.push_async_callback(serving.close)
        await serving.start()
        gc.collect()
        gc.freeze()
        people = [f"p{person}" for person in range(PEOPLE)]
        facts = {"items": n_items, "history": HISTORY, "indexed": serving.server.current.candidates is not None}

        async def miss(number: int) -> None:
            person = people[number % PEOPLE]
            page = await serving.lists.recommend(ListQuery(person))
            assert len(page.items) == 10
            assert not page.is_fallback
            assert not page.from_cache

        async def forget(number: int) -> None:
            person = people[number % PEOPLE]
            await container.cache.bump([person])
            serving.lists.forget([person])

        percentiles(await timed(miss, forget), "list", **facts)
        history = tuple(SessionEvent(f"i{number * 7 % n_items}") for number in range(HISTORY))

        async def session(_number: int) -> None:
            await serving.lists.session(SessionQuery(history))

        percentiles(await timed(session), "session of 200", **facts)
        parts(serving.server.current, facts)
        await hits(serving.lists.recommend, facts)


async def timed(step: Callable[[int], Any], before: Callable[[int], Any] | None = None) -> Sequence[float]:
    """Seconds of each of 300 steps, after 20 that do not count."""
    seconds = []
    for number in range(-20, ROUNDS):
        if before is not None:
            await before(number)
        started = time.perf_counter()
        await step(number)
        if number >= 0:
            seconds.append(time.perf_counter() - started)
    return seconds


def parts(serving: Any, facts: Mapping[str, object]) -> None:
    """The computation alone, without database, threads and caches."""
    history = tuple((f"i{number * GENRES}", 1.0, NOW.timestamp() - number) for number in range(HISTORY))
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        rank_list(serving, RankingTask("hybrid", Filters(), history, 100), NOW)
        seconds.append(time.perf_counter() - started)
    percentiles(seconds, "computation alone", **facts)


async def hits(recommend: Callable[[ListQuery], Any], facts: Any) -> None:
    """Lists found in process memory, after asking the cache for the generation."""
    query = ListQuery("p0")
    await recommend(query)
    started = time.perf_counter()
    for _ in range(20_000):
        await recommend(query)
    report(
        BENCHMARK, "list from memory with a cache read", (time.perf_counter() - started) / 20_000 * 1e6, "us", **facts
    )


def main() -> None:
    """Each size in turn."""
    for n_items in map(int, sys.argv[1:] or ("10000", "40000", "100000")):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(n_items, Path(folder)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
        report(BENCHMARK, "peak memory, fitting included", peak, "MiB", items=n_items)


if __name__ == "__main__":
    main()
