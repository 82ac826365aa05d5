"""Damaged artifacts, row M1 of the test plan: `python -m benchmarks.damage --count 2000 --seed 0`.

Each mutation is made to the files of a real artifact in a real folder, and the model is then loaded as a server loads
it. It must be refused before anything is parsed. Prints one JSON line; exit 1 unless every mutation was refused so.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np

from app.application.artifacts.artifact_format import FILES, MANIFEST
from app.application.artifacts.model_artifacts import load_model, save_model
from app.application.demo.demo_data import DemoData, generate
from app.domain.dataset import Dataset
from app.domain.entities import KINDS, EventColumns, ModelStatus, ModelVersion
from app.domain.exceptions import ArtifactDamagedError, ArtifactError, ArtifactMissingError
from app.domain.interfaces import ArtifactStore
from app.domain.signals import SignalPolicy, dataset_from
from app.infrastructure.storage import open_artifact_store
from app.models import RECOMMENDERS
from benchmarks.machine import report

ANCHOR = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEFORE_PARSING = frozenset({"checksum", "size", "larger than allowed", "missing"})
"""What the checks say that come before the first byte is parsed."""

Files = dict[str, bytes]
Mutation = Callable[[np.random.Generator, Files, Files], Files]


def columns_of(data: DemoData) -> EventColumns:
    """Interactions as the database would give them."""
    users = tuple(sorted({event.user_id for event in data.interactions}))
    items = tuple(sorted({event.item_id for event in data.interactions}))
    user_at, item_at = ({key: place for place, key in enumerate(keys)} for keys in (users, items))
    events = sorted(data.interactions, key=lambda event: (user_at[event.user_id], event.occurred_at, event.event_id))
    return EventColumns(
        users,
        items,
        np.array([user_at[event.user_id] for event in events], dtype=np.int32),
        np.array([item_at[event.item_id] for event in events], dtype=np.int32),
        np.array([KINDS.index(event.kind) for event in events], dtype=np.int8),
        np.array([np.nan if event.value is None else event.value for event in events], dtype=np.float32),
        np.array([np.nan if event.duration is None else event.duration for event in events], dtype=np.float32),
        np.array([event.occurred_at.timestamp() for event in events], dtype=np.float64),
    )


def small_dataset(seed: int = 7) -> Dataset:
    """A training set that is fitted in no time."""
    data = generate(ANCHOR, n_items=60, n_users=40, seed=seed)
    return dataset_from(columns_of(data), SignalPolicy(), ANCHOR, data.items, data.users)


async def write_model(store: ArtifactStore, key: str, name: str = "ials", data_seed: int = 7) -> ModelVersion:
    """A real artifact, and the row that names it."""
    dataset = small_dataset(data_seed)
    recommender = RECOMMENDERS.build(name, {})
    recommender.fit(dataset, seed=0, progress=lambda stage, fraction: None)
    names = dataset.item_features.names if dataset.item_features else ()
    written, digest = await save_model(store, key, recommender, dataset.items, names, {"seed": 0})
    return ModelVersion(key, name, 1, ModelStatus.CANDIDATE, ANCHOR, None, written, digest)


def truncate(rng: np.random.Generator, files: Files, _other: Files) -> Files:
    """Cut the end off, down to nothing."""
    name = _any(rng, files)
    return {**files, name: files[name][: int(rng.integers(len(files[name])))]}


def flip_bit(rng: np.random.Generator, files: Files, _other: Files) -> Files:
    """One bit anywhere."""
    name = _any(rng, files)
    data = bytearray(files[name])
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return {**files, name: bytes(data)}


def zero_block(rng: np.random.Generator, files: Files, _other: Files) -> Files:
    """A block of zeros where there was something else, as a lost disk page leaves it."""
    name = _any(rng, files)
    data = bytearray(files[name])
    filled = np.flatnonzero(np.frombuffer(files[name], dtype=np.uint8))
    start = int(rng.choice(filled))
    stop = min(start + int(rng.integers(1, 4_097)), len(data))
    data[start:stop] = bytes(stop - start)
    return {**files, name: bytes(data)}


def append(rng: np.random.Generator, files: Files, _other: Files) -> Files:
    """Bytes behind the end."""
    name = _any(rng, files)
    return {**files, name: files[name] + rng.bytes(int(rng.integers(1, 1_025)))}


def swap_two(rng: np.random.Generator, files: Files, _other: Files) -> Files:
    """Two files in each other's place."""
    one, two = rng.choice(sorted(files), 2, replace=False)
    return {**files, one: files[two], two: files[one]}


def part_of_another(rng: np.random.Generator, files: Files, other: Files) -> Files:
    """A file of another version: its manifest (a rollback by hand), its ids or its arrays."""
    name = _any(rng, files)
    return {**files, name: other[name]}


def lose_one(rng: np.random.Generator, files: Files, _other: Files) -> Files:
    """A file is gone."""
    name = _any(rng, files)
    return {key: data for key, data in files.items() if key != name}


MUTATIONS: tuple[Mutation, ...] = (truncate, flip_bit, zero_block, append, swap_two, part_of_another, lose_one)


def _any(rng: np.random.Generator, files: Files) -> str:
    return str(rng.choice(sorted(files)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many mutations were made, refused, and refused only after parsing had begun; and by which check."""

    made: int
    refused: int
    refused_late: int
    by_check: Mapping[str, int]


async def damage(folder: Path, count: int, seed: int) -> Outcome:
    """Mutate an artifact `count` times and load it each time; the undamaged one must load before and after."""
    store = await open_artifact_store(f"file://{folder}")
    try:
        model = await write_model(store, "models/ials/000002-new")
        await write_model(store, "models/ials/000001-old", data_seed=8)
        files, other = _read(folder / "models/ials/000002-new"), _read(folder / "models/ials/000001-old")
        await load_model(store, model, RECOMMENDERS)
        outcome = await _mutate(store, model, folder / "models/ials/000002-new", (files, other), count, seed)
        _write(folder / "models/ials/000002-new", files)
        await load_model(store, model, RECOMMENDERS)
    finally:
        await store.close()
    return outcome


async def _mutate(
    store: ArtifactStore, model: ModelVersion, folder: Path, versions: tuple[Files, Files], count: int, seed: int
) -> Outcome:
    rng = np.random.default_rng(seed)
    checks: Counter[str] = Counter()
    for number in range(count):
        _write(folder, MUTATIONS[number % len(MUTATIONS)](rng, *versions))
        try:
            await load_model(store, model, RECOMMENDERS)
        except ArtifactMissingError:
            checks["missing"] += 1
        except ArtifactDamagedError as error:
            checks[error.problem] += 1
        except ArtifactError:
            checks["other"] += 1
    late = sum(times for check, times in checks.items() if check not in BEFORE_PARSING)
    return Outcome(count, checks.total(), late, dict(checks))


def _read(folder: Path) -> Files:
    return {name: (folder / name).read_bytes() for name in (*FILES.values(), MANIFEST)}


def _write(folder: Path, files: Files) -> None:
    for name in (*FILES.values(), MANIFEST):
        if name in files:
            (folder / name).write_bytes(files[name])
        else:
            (folder / name).unlink(missing_ok=True)


def main() -> int:
    """Exit 0 if every mutation was refused before parsing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(damage(Path(folder), arguments.count, arguments.seed))
    report(
        "damage",
        "damaged artifacts refused",
        outcome.refused,
        f"of {outcome.made}",
        refused_after_parsing=outcome.refused_late,
        by_check=outcome.by_check,
        seed=arguments.seed,
        seconds=round(monotonic() - began, 1),
    )
    return 0 if outcome.refused == outcome.made and not outcome.refused_late else 1


if __name__ == "__main__":
    sys.exit(main())
