"""Dead letters go in after all once they are acceptable, once, and the command line says what became of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from app.application.ingestion.dead_letter_replay import DeadLetterReplay
from app.cli import app
from app.domain.entities import DeadLetter, Interaction, Kind
from app.domain.exceptions import NotFoundError
from app.domain.stores import Database, IngestBatch
from app.infrastructure.cache.memory_cache import MemoryCache
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def event(number: int, **fields: object) -> bytes:
    body = {"user_id": "u1", "video_id": "v1", "rating": 4, "timestamp": "2026-11-20T10:00:00Z"}
    return json.dumps({"event_id": str(UUID(int=number)), **body, **fields}).encode()


def letter(payload: bytes, reason: str = "unprocessable", whole: bytes | None = None) -> DeadLetter:
    digest = sha256(whole or payload).hexdigest()
    return DeadLetter("kafka", reason, payload, digest, NOW, "profile-service.video-rated", 0, 7)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    return url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = await open_database(url, pool_size=2, timeout_seconds=5, lease_seconds=60)
    yield opened
    await opened.close()


def replay_on(database: Database) -> DeadLetterReplay:
    return DeadLetterReplay(database, MemoryCache(1_000_000), lambda: NOW)


async def test_a_letter_that_is_acceptable_now_goes_in_and_is_marked(database: Database) -> None:
    await database.dead_letters.add([letter(event(1)), letter(b"\0\0\0\0\x05" + event(2))])
    done = await replay_on(database).run_all()
    assert (len(done.replayed), done.refused) == (2, {})
    assert await database.interactions.count() == 2
    assert await database.dead_letters.count() == 0
    assert all(kept.replayed_at == NOW for kept in await database.dead_letters.list(10))


async def test_replaying_twice_counts_once(database: Database) -> None:
    await database.dead_letters.add([letter(event(1))])
    await replay_on(database).run_all()
    assert (await replay_on(database).run_all()).replayed == ()
    (kept,) = await database.dead_letters.list(10)
    assert (await replay_on(database).run([kept])).refused == {"replayed_before": 1}
    assert await database.interactions.count() == 1


async def test_an_event_that_came_in_meanwhile_is_a_duplicate_and_its_letter_is_done(database: Database) -> None:
    at = datetime(2026, 11, 20, 10, tzinfo=UTC)
    await database.interactions.ingest(IngestBatch([Interaction(UUID(int=1), "u1", "v1", Kind.RATING, at, value=4.0)]))
    await database.dead_letters.add([letter(event(1))])
    assert len((await replay_on(database).run_all()).replayed) == 1
    assert await database.interactions.count() == 1


async def test_what_is_still_wrong_stays_and_is_counted_by_reason(database: Database) -> None:
    await database.dead_letters.add(
        [
            letter(b"{", "decode"),
            letter(event(1, rating=9), "rating_range"),
            letter(b"{", "too_large", whole=b"{" * 5_000),
        ]
    )
    done = await replay_on(database).run_all()
    assert done.replayed == ()
    assert done.refused == {"decode": 1, "rating_range": 1, "truncated": 1}
    assert await database.dead_letters.count() == 3


async def test_only_letters_of_one_reason_are_tried_when_asked(database: Database) -> None:
    await database.dead_letters.add([letter(event(1), "a"), letter(event(2), "b")])
    assert len((await replay_on(database).run_all("a", page=1)).replayed) == 1
    assert [kept.reason for kept in await database.dead_letters.list(10) if kept.replayed_at is None] == ["b"]


async def test_an_unknown_id_is_refused_before_anything_is_tried(database: Database) -> None:
    await database.dead_letters.add([letter(event(1))])
    with pytest.raises(NotFoundError):
        await replay_on(database).run_ids([1, 99])
    assert await database.interactions.count() == 0


async def test_a_catalog_change_is_replayed_too(database: Database) -> None:
    payload = json.dumps({"item_id": "v9", "title": "Nine"}).encode()
    kept = letter(payload)
    topic = "catalog-service.item-upserted"
    await database.dead_letters.add(
        [DeadLetter("kafka", kept.reason, payload, kept.sha256, NOW, topic, 0, 1)],
    )
    assert len((await replay_on(database).run_all()).replayed) == 1
    assert await database.catalog.get_item("v9") is not None


def test_the_command_line_lists_shows_and_replays(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fill() -> None:
        database = await open_database(url, pool_size=2, timeout_seconds=5, lease_seconds=60)
        await database.dead_letters.add([letter(event(1)), letter(b"\xff", "decode")])
        await database.close()

    asyncio.run(fill())
    monkeypatch.setenv("ENCORE_DATABASE_URL", url)
    monkeypatch.setenv("ENCORE_ENVIRONMENT", "test")

    def encore(*arguments: str) -> dict[str, object]:
        result = CliRunner().invoke(app, ["dead-letters", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        shown: dict[str, object] = json.loads(result.stdout)
        return shown

    listed = encore("list")["dead_letters"]
    assert isinstance(listed, list)
    assert [shown["reason"] for shown in listed] == ["unprocessable", "decode"]
    assert encore("show", "2")["payload"] == "\\xff"
    assert encore("replay", "--all") == {"replayed": 1, "refused": {"decode": 1}, "stale_lists": 0}
    assert CliRunner().invoke(app, ["dead-letters", "replay"]).exit_code == 2
    assert CliRunner().invoke(app, ["dead-letters", "show", "77"]).exit_code == 1
