"""A small service on disk: two tastes, 40 items, a trained blend. Made once, copied for each test that changes it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.testclient import TestClient

from app.application.artifacts.model_artifacts import save_model
from app.application.credentials import SCOPES, ApiKeys, issue_token
from app.application.ingestion.event_decoding import decode_event
from app.bootstrap import Container, open_container
from app.config import Settings
from app.connecting import utc_now
from app.domain.entities import Interaction, Item, ModelStatus, ModelVersion
from app.domain.signals import dataset_from
from app.domain.stores import IngestBatch
from app.infrastructure.database.migrate import migrate
from app.main import create_app
from app.models import RECOMMENDERS
from app.policies import signal_policy

SECRET = "c0rrect-h0rse-battery-staple-and-more"
GENRES = ("Crime", "Comedy")
BLEND = {
    "members": {"content": {}, "popularity": {}},
    "weights": {"content": [0.0, 1.0], "popularity": [1.0, 0.05]},
    "knots": [0, 1],
}


def settings_of(folder: Path, **more: Any) -> Settings:
    """Settings of a service in this folder."""
    return Settings(
        **{
            "environment": "test",
            "jwt_secret": SECRET,
            "database_url": f"sqlite+aiosqlite:///{folder}/encore.db",
            "artifacts_url": f"file:{folder}/artifacts",
            "artifact_copies": folder / "copies",
            **more,
        }
    )


def token(subject: str = "u1", *scopes: str, **more: Any) -> str:
    """A token for this person; without scopes, for reading."""
    return issue_token(SECRET, subject=subject, scopes=scopes or ("recs:read",), now=utc_now(), **more)


def bearer(subject: str = "u1", *scopes: str, **more: Any) -> dict[str, str]:
    """The header with such a token."""
    return {"Authorization": "Bearer " + token(subject, *scopes, **more)}


ADMIN = bearer("boss", *SCOPES)


def rated(user_id: str, item_id: str, rating: float = 5.0, minutes_ago: int = 60) -> dict[str, Any]:
    """A rating of today."""
    at = utc_now() - timedelta(minutes=minutes_ago)
    return {"user_id": user_id, "video_id": item_id, "rating": rating, "timestamp": at.isoformat()}


def build(folder: Path) -> None:
    """Migrate, populate, train."""
    settings = settings_of(folder)
    migrate(settings.database_url)
    asyncio.run(_populate(settings))


async def _populate(settings: Settings) -> None:
    async with open_container(settings) as container:
        now = utc_now()
        items = [
            Item(
                f"{genre.lower()}-{number:02}",
                now,
                f"{genre} {genre[:2]}{number}",
                genres=(genre,),
                year=start + number,
            )
            for genre, start in zip(GENRES, (1950, 2000), strict=True)
            for number in range(20)
        ]
        await container.database.catalog.upsert_items(items)
        await container.database.interactions.ingest(IngestBatch(list(_ratings(now))))
        await train(container)


def _ratings(now: datetime) -> Iterator[Interaction]:
    for genre, fans in zip(GENRES, (10, 6), strict=True):
        for fan in range(fans):
            for pick in sorted({(fan * step) % 20 for step in range(4)} | {0}):
                event = decode_event(rated(f"{genre.lower()}-fan-{fan}", f"{genre.lower()}-{pick:02}"), now)
                assert isinstance(event, Interaction)
                yield event


async def train(container: Container) -> ModelVersion:
    """Fit on everything, save, register, promote."""
    now, database = utc_now(), container.database
    columns = await database.interactions.columns(None, None)
    items = await database.catalog.list_items(None, 1_000)
    dataset = dataset_from(columns, signal_policy(container.settings), now, items, ())
    recommender = RECOMMENDERS.build("hybrid", BLEND)
    recommender.fit(dataset, seed=0, progress=lambda _stage, _fraction: None)
    names: Sequence[str] = () if dataset.item_features is None else dataset.item_features.names
    model_id = uuid4().hex
    key, sha256 = await save_model(
        container.artifacts, f"models/hybrid/{model_id}", recommender, dataset.items, names, {}
    )
    model = ModelVersion(model_id, "hybrid", 0, ModelStatus.CANDIDATE, now, None, key, sha256)
    added = await database.models.add(model)
    champion = await database.models.champion("hybrid")
    expected = None if champion is None else champion.model.model_id
    await database.models.promote(model_id, token=None, expected=expected, at=utc_now())
    return added


def api_key(folder: Path, client: str, scopes: Sequence[str]) -> str:
    """A key for a service."""

    async def make() -> str:
        async with open_container(settings_of(folder)) as container:
            keys = ApiKeys(container.database.api_keys, "test", container.clock)
            return (await keys.create(client, scopes))[1]

    return asyncio.run(make())


def train_again(folder: Path) -> str:
    """Another champion, made by another process; its id."""

    async def make() -> str:
        async with open_container(settings_of(folder)) as container:
            return (await train(container)).model_id

    return asyncio.run(make())


@dataclass(frozen=True)
class RunningService:
    """A running application, in this process."""

    folder: Path
    client: TestClient

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """GET as the admin unless told otherwise."""
        return self.client.get(path, headers=ADMIN if headers is None else headers)


@contextmanager
def opened(folder: Path, **settings: Any) -> Iterator[RunningService]:
    """The application over a folder that `build` made."""
    app = create_app(settings_of(folder, **settings))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield RunningService(folder, client)


@contextmanager
def opened_copy(built: Path, folder: Path, **settings: Any) -> Iterator[RunningService]:
    """The same, over a copy."""
    shutil.copytree(built, folder, dirs_exist_ok=True)
    with opened(folder, **settings) as running:
        yield running


def is_problem(answer: Any, status: int, slug: str | None = None) -> bool:
    """Whether an answer is a problem document of this status, with nothing in it that should not be."""
    document = answer.json()
    return (
        answer.status_code == status == document["status"]
        and answer.headers["content-type"] == "application/problem+json"
        and document["request_id"] == answer.headers["x-request-id"]
        and (slug is None or document["type"] == "urn:problem-type:encore:" + slug)
        and set(document) <= {"type", "title", "status", "request_id", "errors", "resource", "training_id", "checks"}
    )
