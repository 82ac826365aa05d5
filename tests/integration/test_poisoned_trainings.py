"""Poisoned trainings never serve: each is refused, the reason is told and kept, and the champion serves on.

Shuffled labels are in test_training.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
import pytest
from numpy.typing import NDArray

from app.application.demo.demo_data import DemoData, generate
from app.application.training.model_training import Trainer, TrainingRequest
from app.domain.dataset import Dataset, Histories
from app.domain.entities import Interaction, Kind, ModelStatus, TrainingJob, TrainingStatus
from app.domain.recommender import ProgressCallback, Recommender, Recommenders, Scorer
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.storage import open_artifact_store
from app.models import RECOMMENDERS
from app.models.content_based import ContentParameters, ContentTower
from tests.integration.test_training import ANCHOR, NOW, POLICY, TYPE, TrainingService


@pytest.fixture(scope="module")
def data() -> DemoData:
    return generate(ANCHOR, n_items=100, n_users=100)


@pytest.fixture
async def service(tmp_path: Path, data: DemoData) -> AsyncIterator[TrainingService]:
    """With a good champion."""
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    database = await open_database(url, pool_size=5, timeout_seconds=5.0, lease_seconds=60.0)
    artifacts = await open_artifact_store(f"file://{tmp_path}/artifacts")
    service = TrainingService(database, artifacts, tmp_path / "artifacts")
    await database.catalog.upsert_items(data.items)
    await database.catalog.upsert_users(data.users)
    await service.ingest(data.interactions)
    assert (await service.train()).status is TrainingStatus.PROMOTED
    yield service
    await artifacts.close()
    await database.close()


def liked(user_id: str, item_id: str, at: datetime) -> Interaction:
    return Interaction(uuid5(UUID(int=9), f"{user_id} {item_id} {at}"), user_id, item_id, Kind.LIKE, at)


async def refused(service: TrainingService, bad: TrainingJob, reason: str) -> None:
    """Rejected for this reason, which job and row keep; the first model is still champion."""
    assert bad.status is TrainingStatus.REJECTED, bad.reason
    assert reason in str(bad.reason)
    champion = await service.database.models.champion(TYPE)
    assert champion is not None
    assert (champion.epoch, champion.model.version) == (1, 1)
    row = await service.registry().show(str(bad.model_id))
    assert (row.status, row.artifact_key) == (ModelStatus.REJECTED, None)
    verdict = row.metrics["verdict"]
    assert isinstance(verdict, dict)
    assert any(reason in one for one in verdict["reasons"])


async def test_people_who_all_watch_one_item(service: TrainingService, data: DemoData) -> None:
    hit = data.items[0].item_id
    crowd = [liked(f"bot-{number}", hit, ANCHOR + timedelta(minutes=number)) for number in range(500)]
    others = [liked(one.user_id, data.items[1 + n % 3].item_id, one.occurred_at) for n, one in enumerate(crowd)]
    await service.ingest([*crowd, *others])

    bad = await service.train(TrainingRequest(TYPE, start_date=ANCHOR - timedelta(days=1)))

    await refused(service, bad, "does not beat popularity")


async def test_a_tenth_of_the_catalog(service: TrainingService, data: DemoData) -> None:
    kept = {item.item_id for item in data.items[:10]}
    await service.database.catalog.remove_items([i.item_id for i in data.items if i.item_id not in kept], NOW)
    later = [
        replace(one, event_id=uuid5(UUID(int=3), str(one.event_id)), occurred_at=one.occurred_at + timedelta(days=380))
        for one in data.interactions
        if one.item_id in kept
    ]
    await service.ingest(later)

    bad = await service.train(TrainingRequest(TYPE, start_date=min(one.occurred_at for one in later)))

    await refused(service, bad, "it knows 10 items, the champion 100: the catalog has shrunk")


class Poisoned(Recommenders):
    """The table of recommenders, whose content recommender scores by `poison`."""

    def __init__(self, poison: str) -> None:
        self._poison = poison

    def names(self) -> tuple[str, ...]:
        return RECOMMENDERS.names()

    def optional(self) -> Collection[str]:
        return RECOMMENDERS.optional()

    def build(self, name: str, parameters: Mapping[str, object]) -> Recommender:
        return PoisonedContent(self._poison) if name == TYPE else RECOMMENDERS.build(name, parameters)

    def restore(
        self, name: str, parameters: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]
    ) -> Recommender:
        return RECOMMENDERS.restore(name, parameters, arrays)

    def as_new(
        self, members: Mapping[str, Recommender], dataset: Dataset, items: NDArray[np.bool_]
    ) -> Mapping[str, Scorer]:
        return RECOMMENDERS.as_new(members, dataset, items)


class PoisonedContent(ContentTower):
    """Fits like the real one."""

    def __init__(self, poison: str) -> None:
        super().__init__(TYPE, ContentParameters())
        self._poison = poison
        self._rarest = 0

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        super().fit(dataset, seed=seed, progress=progress)
        # Few have seen it, so that it may come first for nearly all.
        self._rarest = int(np.bincount(dataset.histories.items, minlength=dataset.n_items).argmin())

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        scores = super().score(histories, items)
        shown = np.arange(self.n_items) if items is None else items
        if self._poison == "NaN":
            scores[:, shown % 7 == 0] = np.nan
        else:
            scores[:, shown == self._rarest] = 1e6
        return scores


@pytest.mark.parametrize(
    ("poison", "reason"),
    [("NaN", "its scores are not all finite numbers"), ("one item", "the same item comes first for")],
)
async def test_a_model_of_broken_numbers_or_of_one_item_for_everybody(
    service: TrainingService, poison: str, reason: str
) -> None:
    trainer = Trainer(
        service.database, service.artifacts, Poisoned(poison), service.clock, POLICY, seed=0, code_version="test"
    )

    bad = await trainer.run((await service.queue()).training_id)

    await refused(service, bad, reason)


async def test_a_clock_in_the_future(service: TrainingService, data: DemoData) -> None:
    ahead = [
        replace(one, event_id=uuid5(UUID(int=4), str(one.event_id)), occurred_at=NOW + timedelta(days=3_650, minutes=n))
        for n, one in enumerate(data.interactions[: len(data.interactions) // 5])
    ]
    await service.ingest(ahead)

    bad = await service.train()

    assert bad.status is TrainingStatus.FAILED
    assert "of the events lie in the future: a clock is wrong" in str(bad.reason)
    champion = await service.database.models.champion(TYPE)
    assert champion is not None
    assert champion.model.version == 1


async def test_a_single_event_from_the_future_makes_nothing_old(service: TrainingService, data: DemoData) -> None:
    await service.ingest([liked("traveller", data.items[0].item_id, NOW + timedelta(days=3_650))])

    job = await service.train()

    assert job.status is TrainingStatus.PROMOTED, job.reason
    row = await service.registry().show(str(job.model_id))
    window = row.lineage["window"]
    assert isinstance(window, dict)
    assert window["last_event"] == max(one.occurred_at for one in data.interactions).timestamp()
