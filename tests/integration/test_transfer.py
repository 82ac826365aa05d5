"""Export then import into an empty database gives the same tables; a repeat adds nothing; bad rows are kept apart."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.application.invalidation.generation_bumps import PendingBumps
from app.application.transfer import catalog_file_rows, exporting, interaction_file_rows
from app.application.transfer.catalog_file_rows import Reading
from app.application.transfer.import_summary import REJECT_COLUMNS, ImportSummary, Rejects
from app.application.transfer.importing import Importer
from app.application.transfer.interaction_file_rows import InteractionRows
from app.application.transfer.movielens import import_folder, layout_of
from app.domain.entities import RESERVED_USER_IDS, Interaction, Item, Kind, User
from app.domain.identifiers import is_id
from app.domain.interfaces import Cache
from app.domain.stores import Database, IngestBatch
from app.infrastructure.cache import open_cache
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.files import open_reader, open_writer

EXAMPLES = int(os.environ.get("ENCORE_TEST_EXAMPLES", "100")) // 4
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
IDS = st.from_regex(r"[A-Za-z0-9_:@|~+=-][A-Za-z0-9_.:@|~+=-]{0,20}", fullmatch=True).filter(is_id)
MOMENTS = st.datetimes(datetime(1970, 1, 3), datetime(2026, 2, 28), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
JSON_VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | TEXT
ITEMS = st.builds(
    Item,
    IDS,
    MOMENTS,
    st.none() | TEXT,
    st.none() | TEXT,
    st.lists(TEXT, max_size=3, unique=True).map(tuple),
    st.lists(TEXT, max_size=3, unique=True).map(tuple),
    st.none() | st.integers(1900, 2026),
    st.none() | MOMENTS,
    st.booleans(),
    st.none() | MOMENTS,
    st.none() | MOMENTS,
    st.dictionaries(TEXT, JSON_VALUES | st.lists(JSON_VALUES, max_size=2), max_size=3),
)
USERS = st.builds(
    User,
    IDS.filter(lambda text: text not in RESERVED_USER_IDS),
    MOMENTS,
    st.dictionaries(TEXT, JSON_VALUES, max_size=3),
)
EVENTS = st.builds(
    Interaction,
    st.uuids(),
    IDS.filter(lambda text: text not in RESERVED_USER_IDS),
    IDS,
    st.sampled_from([Kind.VIEW, Kind.LIKE, Kind.PURCHASE]),
    MOMENTS,
    st.none() | st.floats(-1e12, 1e12),
    st.none() | st.floats(0, 1e9),
    st.none() | st.sampled_from(["tv", "téléphone"]),
)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "empty.db"
    migrate(f"sqlite+aiosqlite:///{file}")
    return file


def renew(template: Path, file: Path) -> None:
    for leftover in file.parent.glob(f"{file.name}*"):
        leftover.unlink()
    shutil.copy(template, file)


async def fresh(template: Path, file: Path) -> Database:
    renew(template, file)
    return await open_database(f"sqlite+aiosqlite:///{file}", pool_size=2, timeout_seconds=5, lease_seconds=60)


@pytest.fixture
async def database(template: Path, tmp_path: Path) -> AsyncIterator[Database]:
    opened = await fresh(template, tmp_path / "encore.db")
    yield opened
    await opened.close()


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    opened = await open_cache("memory://", 1_048_576)
    yield opened
    await opened.close()


def importer(database: Database, cache: Cache, rejects: Rejects | None = None) -> Importer:
    return Importer(database, PendingBumps(cache), rejects or Rejects(), lambda _file, _fraction: None)


async def tables(database: Database) -> tuple[object, ...]:
    """Everything that an export holds, and the state that follows from it."""
    users = await database.catalog.list_users(None, 1_000)
    return (
        [event async for batch in database.interactions.export() for event in batch],
        await database.catalog.list_items(None, 1_000),
        users,
        [await database.interactions.history(user.user_id, 1_000) for user in users],
    )


async def export_all(database: Database, folder: Path, suffix: str) -> None:
    for name, columns, rows in [
        ("interactions", interaction_file_rows.COLUMNS, exporting.interaction_rows),
        ("items", catalog_file_rows.ITEM_COLUMNS, exporting.item_rows),
        ("users", catalog_file_rows.USER_COLUMNS, exporting.user_rows),
    ]:
        writer = open_writer(folder / f"{name}{suffix}", columns)
        await exporting.export(rows(database), writer, lambda _rows: None)


async def import_all(database: Database, cache: Cache, folder: Path, suffix: str) -> Sequence[ImportSummary]:
    work = importer(database, cache)
    reading = Reading(NOW, NOW)
    return [
        await work.interactions(open_reader(folder / f"interactions{suffix}"), InteractionRows(NOW, {})),
        await work.items(open_reader(folder / f"items{suffix}"), reading),
        await work.users(open_reader(folder / f"users{suffix}"), reading),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl.gz", ".parquet"])
def test_export_then_import_gives_the_same_tables(template: Path, tmp_path: Path, suffix: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(EVENTS, max_size=6, unique_by=lambda event: event.event_id),
        st.lists(ITEMS, max_size=4, unique_by=lambda item: item.item_id),
        st.lists(USERS, max_size=4, unique_by=lambda user: user.user_id),
    )
    def comes_back(events: list[Interaction], items: list[Item], users: list[User]) -> None:
        asyncio.run(there_and_back(events, items, users))

    async def there_and_back(events: list[Interaction], items: list[Item], users: list[User]) -> None:
        source = await fresh(template, tmp_path / "source.db")
        target = await fresh(template, tmp_path / "target.db")
        cache = await open_cache("memory://", 1_048_576)
        try:
            await source.interactions.ingest(IngestBatch(events))
            await source.catalog.upsert_items(items)
            await source.catalog.upsert_users(users)
            await export_all(source, tmp_path, suffix)
            first = await import_all(target, cache, tmp_path, suffix)
            again = await import_all(target, cache, tmp_path, suffix)

            assert await tables(target) == await tables(source)
            assert sum(tally.rejected for tally in [*first, *again]) == 0
            assert sum(tally.accepted for tally in again) == 0
        finally:
            for opened in (source, target, cache):
                await opened.close()

    comes_back()


async def test_bad_rows_go_to_the_rejects_file_with_line_and_reason(
    database: Database, cache: Cache, tmp_path: Path
) -> None:
    file = tmp_path / "events.csv"
    file.write_text("user_id,item_id,rating,timestamp\nu1,i1,4,964982703\nu1,i1,9,964982703\nu2\nu2,i2,3,x\n")
    writer = open_writer(tmp_path / "rejects.jsonl", REJECT_COLUMNS)

    tally = await importer(database, cache, Rejects(writer)).interactions(open_reader(file), InteractionRows(NOW, {}))
    writer.close()

    assert (tally.read, tally.accepted, tally.duplicates, tally.rejected) == (4, 1, 0, 3)
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert {(reject["line"], reject["reason"]) for reject in rejects} == {
        (3, "a rating is a number from 0.5 to 5; --scale 1..10 converts others"),
        (4, "1 columns instead of 4"),
        (5, "timestamp is neither RFC 3339 nor a number of seconds since 1970"),
    }
    assert {reject["file"] for reject in rejects} == {"events.csv"}


async def test_an_event_id_with_other_content_is_rejected_not_counted_twice(
    database: Database, cache: Cache, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    identity = str(uuid4())
    file.write_text("".join(f'{{"event_id":"{identity}","user_id":"u1","item_id":"{i}"}}\n' for i in ("a", "b")))

    tally = await importer(database, cache).interactions(open_reader(file), InteractionRows(NOW, {}))

    assert (tally.accepted, tally.rejected) == (1, 1)
    assert tally.reasons == {"event_id is known with other content": 1}


async def test_an_import_renews_the_lists_of_its_users(database: Database, cache: Cache, tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text("user_id,item_id\nu1,i1\n")
    before = (await cache.read("u1", "hybrid", None)).generation

    await importer(database, cache).interactions(open_reader(file), InteractionRows(NOW, {}))

    assert (await cache.read("u1", "hybrid", None)).generation > before


async def test_an_error_in_the_middle_leaves_the_batches_before_it(
    database: Database, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database.interactions, "bulk_rows", 2)
    file = tmp_path / "events.csv.gz"
    good = "".join(f"u{n},i1\n" for n in range(5))
    noise = random.Random(1).randbytes(400_000).hex()  # one line: the damage lies behind the first rows
    file.write_bytes(gzip.compress(f"user_id,item_id\n{good}{noise}".encode())[:-1_000])

    with pytest.raises(Exception, match="cut off"):
        await importer(database, cache).interactions(open_reader(file), InteractionRows(NOW, {}))
    partial = await database.interactions.count()
    file.write_bytes(gzip.compress(f"user_id,item_id\n{good}".encode()))
    tally = await importer(database, cache).interactions(open_reader(file), InteractionRows(NOW, {}))

    assert partial % 2 == 0
    assert (tally.accepted, tally.duplicates) == (5 - partial, partial)
    assert await database.interactions.count() == 5


@pytest.mark.parametrize(
    "files",
    [
        {
            "movies.csv": "movieId,title,genres\n1,Toy Story (1995),Comedy|Animation\n"
            "2,Heat (1995),(no genres listed)\n",
            "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n",
            "tags.csv": "userId,movieId,tag,timestamp\n1,1,fun,964982703\n",
        },
        {
            "movies.dat": "1::Toy Story (1995)::Comedy|Animation\n2::Heat (1995)::\n",
            "ratings.dat": "1::1::4::964982703\n",
        },
        {
            "x.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            "1\tToy Story\t1995\tComedy Animation\n2\tHeat\t1995\t\n",
            "x.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t4\t964982703\n",
        },
    ],
)
async def test_the_three_forms_of_a_ratings_folder_give_the_same(
    database: Database, cache: Cache, tmp_path: Path, files: dict[str, str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    layout = layout_of(sorted(files))
    assert layout is not None

    tallies = await import_folder(
        importer(database, cache),
        layout,
        lambda part: open_reader(folder / part.file, part.columns) if part.file in files else None,
        NOW + timedelta(days=9_999),
    )

    assert {name: tally.accepted for name, tally in tallies.items()} == {"items": 2, "interactions": 1}
    toy_story, heat = await database.catalog.list_items(None, 10)
    assert (toy_story.title, toy_story.year, toy_story.genres) == ("Toy Story", 1995, ("Comedy", "Animation"))
    assert (heat.title, heat.genres) == ("Heat", ())
    [state] = await database.interactions.history("1", 10)
    assert (state.kind, state.value) == (Kind.RATING, 4.0)


def test_a_folder_that_is_none_of_these_has_no_layout() -> None:
    assert layout_of(["a.txt", "b.inter", "c.inter"]) is None
