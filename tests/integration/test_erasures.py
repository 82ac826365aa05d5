"""Forgetting people, whole: every store is filled, the work is cut off everywhere, backups come back."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

import pytest
from typer.testing import CliRunner

from app.application.audit_trail import verify_chain
from app.application.erasing.again import erase_again
from app.application.erasing.erasures import LEASE_SECONDS, Erasures
from app.application.erasing.follower import ErasureFollower
from app.application.erasing.stores import Stores
from app.application.outgoing.outgoing_events import RecommendationsRefreshed, to_message
from app.bootstrap import Container, open_container
from app.bootstrap_erasing import erasure_stores, make_erasures
from app.cli import app
from app.config import Settings
from app.domain.entities import DeadLetter, Interaction, Kind, OutboxMessage, User
from app.domain.erasure import certificate_hash
from app.domain.exceptions import DatabaseUnavailableError, InputError, NotFoundError
from app.domain.request_log import RequestEntry
from app.domain.stores import IngestBatch
from tests.erasing import person
from tests.integration.import_home import Home, url

NOW = datetime.fromisoformat("2026-11-21T09:00:00+00:00")
GONE = ("gone-anna", "gone-zoë 7")
STAYS = ("stays-ben", "stays-cleo")
EVENTS = 3
STORES = {
    "cache",
    "dead_letters",
    "event_ids",
    "interactions",
    "outbox",
    "pair_states",
    "process_memory",
    "request_log",
    "topic analytics-service.video-watched.dlq",
    "topic profile-service.video-rated.dlq",
    "topic profile-service.watchlist-updated.dlq",
    "topic recommendation-service.recommendations-refreshed",
    "users",
}


@dataclass
class Town:
    """A service's ports, a clock that is told, and one place in process memory."""

    container: Container
    clock: Any
    memory: set[str] = field(default_factory=set)

    def forget(self, is_theirs: Callable[[str], bool]) -> int:
        theirs = {user_id for user_id in self.memory if is_theirs(user_id)}
        self.memory -= theirs
        return len(theirs)

    @property
    def stores(self) -> Stores:
        return erasure_stores(self.container, (self.forget,))

    @property
    def erasures(self) -> Erasures:
        return make_erasures(self.container, self.stores)

    async def fill(self, user_ids: tuple[str, ...]) -> None:
        """Something of each of them in every store."""
        database, cache = self.container.database, self.container.cache
        for user_id in user_ids:
            events = [
                Interaction(
                    uuid5(NAMESPACE_OID, f"{user_id} {n}"), user_id, f"v{n}", Kind.VIEW, NOW - timedelta(hours=n)
                )
                for n in range(EVENTS)
            ]
            await database.interactions.ingest(IngestBatch(events, messages=[_message(user_id)]))
            await database.catalog.upsert_users([User(user_id, NOW - timedelta(days=1), {"age": 3})])
            await database.dead_letters.add([_letter({"user_id": user_id, "rating": 9})])
            await database.request_log.add([_shown(user_id)])
            generation = (await cache.read(user_id, "hybrid", 100)).generation
            await cache.write(user_id, "hybrid", generation, user_id.encode(), 60)
            refreshed = RecommendationsRefreshed(user_id=user_id, recommendation_ids=(), model_id=None, timestamp=NOW)
            await self.container.publisher.publish([to_message(refreshed, NOW)])
            self.memory.add(user_id)


def _message(user_id: str) -> OutboxMessage:
    return OutboxMessage(uuid4(), "profile-service.video-rated.dlq", user_id, b"{}", {}, NOW)


def _letter(content: object) -> DeadLetter:
    return DeadLetter("http", "rating_range", json.dumps(content).encode(), uuid4().hex, NOW)


def _shown(user_id: str) -> RequestEntry:
    user = person(user_id).pseudonym
    return RequestEntry(user_id, NOW, user, "recs", None, None, None, None, False, None, False, 0.1, ())


class Clock:
    """Stands still unless told."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


def settings_in(folder: Path) -> Settings:
    return Settings(environment="test", database_url=url(folder), artifacts_url=f"file:{folder}/artifacts")


@pytest.fixture
async def town(empty: Path, tmp_path: Path) -> AsyncIterator[Town]:
    await asyncio.to_thread(shutil.copy, empty, tmp_path / "encore.db")
    clock = Clock()
    async with open_container(settings_in(tmp_path), clock) as container:
        made = Town(container, clock)
        await made.fill((*GONE, *STAYS))
        yield made


def rows_of(folder: Path) -> str:
    """The whole database as text, blobs as they are where they are text."""
    with closing(sqlite3.connect(folder / "encore.db")) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]  # our tables
    return "\n".join(
        str([value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in row]) for row in rows
    )


def names_in_files(folder: Path) -> list[str]:
    """Of those to be forgotten, the names anywhere: rows, artifacts."""
    text = rows_of(folder) + "".join(
        file.read_bytes().decode("utf-8", "replace") for file in (folder / "artifacts").rglob("*") if file.is_file()
    )
    return [name for name in GONE if name in text or json.dumps(name)[1:-1] in text]


async def assert_forgotten(town: Town, folder: Path) -> None:
    """Nothing of those who are gone, everything of those who stay."""
    assert names_in_files(folder) == []
    assert town.memory == set(STAYS)
    messages = town.container.publisher.messages  # type: ignore[attr-defined]  # the embedded adapter keeps them
    assert {message.key for message in messages} == set(STAYS)
    database, cache = town.container.database, town.container.cache
    assert await cache.erase(lambda user_id: user_id in GONE) == 0
    for user_id in STAYS:
        assert len(await database.interactions.history(user_id, 9)) == EVENTS
        assert await database.request_log.get(user_id) == _shown(user_id)
        assert (await cache.read(user_id, "hybrid", None)).value == user_id.encode()
    assert await database.dead_letters.count() == len(STAYS)
    assert await database.outbox.pending() == len(STAYS)
    assert await database.interactions.count() == len(STAYS) * EVENTS


async def test_every_store_is_cleared_and_the_certificate_says_of_what(town: Town, tmp_path: Path) -> None:
    ordered = await town.erasures.order(GONE, "cli:ada")
    assert await town.container.database.catalog.get_user(GONE[0]) is None

    done = await town.erasures.run(ordered.erasure_id)

    assert done is not None
    await assert_forgotten(town, tmp_path)
    assert set(done.findings) == STORES
    assert {name: one.found for name, one in done.findings.items() if name in ("interactions", "users")} == {
        "interactions": len(GONE) * EVENTS,
        "users": len(GONE),
    }
    assert all(one.removed and one.found == one.removed for name, one in done.findings.items() if ".dlq" not in name)
    assert not any(one.found_again for one in done.findings.values())
    assert done.certificate is not None
    assert done.certificate["is_clean"] is True
    newest = await town.container.database.audit.newest(2)
    assert [(row.entry.act, row.entry.outcome.value, row.entry.target) for row in newest] == [
        ("erasure.finish", "done", done.erasure_id),
        ("erasure.finish", "begun", done.erasure_id),
    ]
    recorded = json.loads(newest[1].entry.before or "")
    assert recorded.pop("certificate_sha256") == done.certificate_sha256 == certificate_hash(recorded)
    assert (await verify_chain(town.container.database.audit)).problems == ()


async def test_late_events_and_a_log_read_again_bring_nothing_back_and_people_may_return(
    town: Town, tmp_path: Path
) -> None:
    database = town.container.database
    await town.erasures.order(GONE, "cli:ada")
    await town.erasures.run()
    town.memory.clear()

    for user_id in GONE:
        events = [Interaction(uuid4(), user_id, "v1", Kind.VIEW, NOW - timedelta(hours=n)) for n in range(5)]
        await database.interactions.ingest(IngestBatch(events, messages=[_message(user_id)]))
        await database.dead_letters.add([_letter({"user_id": user_id, "rating": 9})])
        await database.request_log.add([_shown(user_id)])
    assert names_in_files(tmp_path) == []

    town.clock.now = NOW + timedelta(minutes=6)
    back = Interaction(uuid4(), GONE[0], "v1", Kind.VIEW, town.clock.now)
    await database.interactions.ingest(IngestBatch([back]))
    assert len(await database.interactions.history(GONE[0], 9)) == 1


class CutOffError(BaseException):
    """What a kill looks like from inside: nobody handles it."""


def dying_after(number: int) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
    """Wraps calls: the first `number` of them all together do their work, and then it is over."""
    calls = [0]

    def wrapped(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(*arguments: Any, **named: Any) -> Any:
            if calls[0] == number:
                raise CutOffError
            calls[0] += 1
            return await call(*arguments, **named)

        return called

    return wrapped


REACHED = (
    *(
        ("erasures", name)
        for name in ("remove_next", "extend", "papers", "remove_papers", "note", "lists_of", "finish")
    ),
    ("audit", "append"),
)


@pytest.mark.parametrize("number", range(0, 36, 5))
async def test_wherever_it_is_cut_off_it_goes_on_to_its_end(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    ordered = await town.erasures.order(GONE[:1], "cli:ada")
    rest = await town.erasures.order(GONE[1:], "cli:ada")
    dying = dying_after(number)
    with monkeypatch.context() as patched, suppress(CutOffError):
        for store, name in REACHED:
            target = getattr(town.container.database, store)
            patched.setattr(target, name, dying(getattr(target, name)))
        for owner, name in ((town.container.cache, "erase"), (town.container.publisher, "erase")):
            patched.setattr(owner, name, dying(getattr(owner, name)))
        await town.erasures.run(ordered.erasure_id)

    town.clock.now = NOW + timedelta(seconds=LEASE_SECONDS + 1)
    await town.erasures.run_waiting()

    await assert_forgotten(town, tmp_path)
    for erasure_id in (ordered.erasure_id, rest.erasure_id):
        done = await town.erasures.get(erasure_id)
        assert done.certificate is not None
        assert done.certificate["is_clean"] is True
        assert done.findings["interactions"].found == EVENTS
        assert done.findings["dead_letters"].found == 1


async def test_an_order_outlives_an_outage_of_the_database(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailableError

    with monkeypatch.context() as patched:
        patched.setattr(town.container.database.erasures, "remove_next", away)
        ordered = await town.erasures.order(GONE, "cli:ada")

    assert ordered.removed == 0
    assert await town.erasures.run_waiting() == 1
    assert (await town.erasures.get(ordered.erasure_id)).is_done


async def test_nobody_nobody_knows_is_erased_and_never_too_many_at_once(town: Town) -> None:
    with pytest.raises(NotFoundError):
        await town.erasures.order(["stranger"], "user:self", only_known=True)
    for wrong in ([], [str(n) for n in range(1_001)]):
        with pytest.raises(InputError):
            await town.erasures.order(wrong, "cli:ada")
    assert await town.erasures.run_waiting() == 0


async def test_a_restored_backup_is_erased_again_and_who_came_back_is_left_alone(town: Town, tmp_path: Path) -> None:
    database = town.container.database
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(tmp_path / "encore.db")) as live, closing(sqlite3.connect(backup)) as copy:
        live.backup(copy)
    await town.erasures.order([*GONE, "was-here"], "cli:ada")
    await town.erasures.run()
    with closing(sqlite3.connect(tmp_path / "encore.db")) as live, closing(sqlite3.connect(backup)) as copy:
        copy.backup(live)
    assert names_in_files(tmp_path) == list(GONE)
    town.clock.now = NOW + timedelta(days=1)
    await database.catalog.upsert_users([User("was-here", town.clock.now)])

    found = await erase_again(town.erasures, town.stores, "cli:ada")

    assert (found.graves, found.erased, found.returned, found.papers) == (3, 2, 1, 0)
    assert await database.catalog.get_user("was-here") is not None
    await assert_forgotten(town, tmp_path)
    again = await erase_again(town.erasures, town.stores, "cli:ada")
    assert (again.erased, again.returned, again.lists, again.papers, again.keys) == (0, 1, 0, 0, 0)


async def test_another_process_forgets_too(town: Town) -> None:
    """Its memory, and its cache where nobody shares it: it hears of the erasure through the database."""
    follower = ErasureFollower(town.erasures)
    await follower.step()
    rows = town.container.database.erasures
    town.memory.update(GONE)

    await rows.remove_people([person(user_id) for user_id in GONE], NOW, NOW)
    await follower.step()

    assert town.memory == set(STAYS)
    assert await town.container.cache.erase(lambda user_id: user_id in GONE) == 0
    town.memory.update(GONE)  # they came back: an erasure is followed once
    await follower.step()
    assert town.memory == {*GONE, *STAYS}


def test_people_are_erased_from_the_command_line_by_name_and_by_file(home: Home, tmp_path: Path) -> None:
    async def fill() -> None:
        async with open_container(settings_in(tmp_path)) as container:
            users = [User(f"u{n}", NOW) for n in range(1_205)]
            await container.database.catalog.upsert_users(users)

    asyncio.run(fill())
    listed = tmp_path / "people.txt"
    listed.write_text("\n".join(f"u{n}" for n in range(1_200)) + "\n\n", "utf-8")

    def run(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["erase", *arguments, "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if not code else result.output

    one = run("u1200", "nobody")["erasures"]
    many = run("--file", str(listed))["erasures"]

    assert [(erasure["people"], erasure["status"]) for erasure in one + many] == [
        (2, "done"),
        (1_000, "done"),
        (200, "done"),
    ]
    assert many[0]["certificate"]["stores"]["users"] == {"found": 1_000, "removed": 1_000, "found_again": 0}
    assert run("--again") == {"graves": 1_202, "erased": 0, "returned": 0, "lists": 0, "papers": 0, "keys": 0}
    assert "user 2 of the list is not an id" in run("u1201", "a\\b", code=1)
    assert "name users" in run(code=2)
    with closing(sqlite3.connect(tmp_path / "encore.db")) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (4,)
