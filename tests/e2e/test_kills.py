"""kill -9 leaves nothing half-done, and repeating the command completes it."""

from __future__ import annotations

import csv
import random
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import Home, until

ROWS = 60_000


def write_interactions(path: Path) -> None:
    chance = random.Random(11)
    start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["user_id", "item_id", "kind", "value", "timestamp"])
        for number in range(ROWS):
            rows.writerow([f"u{chance.randrange(3_000)}", f"i{chance.randrange(2_000)}", "rating", 4, start + number])


def count(home: Home, what: str) -> int:
    with sqlite3.connect(f"file:{home.folder}/encore.db?mode=ro", uri=True, timeout=30) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def without_times(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer but for its moment: a cursor says until when it is good."""
    kept = {name: value for name, value in answer.items() if name not in {"request_id", "as_of"}}
    return {**kept, "pagination": {**answer["pagination"], "next_cursor": None}}


@pytest.mark.parametrize("after", [1, 20_000, 40_000])
def test_an_import_that_is_killed_is_completed_by_the_next(empty: Home, after: int) -> None:
    write_interactions(empty.folder / "rows.csv")
    importing = empty.start("import", "interactions", "rows.csv")
    for _ in until(60, pause=0.01):
        if count(empty, "interactions") >= after or importing.poll() is not None:
            break
    importing.kill()
    importing.wait()
    stored = count(empty, "interactions")
    assert stored < ROWS, "it was done before it was killed"

    result = empty.ask("import", "interactions", "rows.csv")
    assert result["interactions"]["accepted"] == ROWS - stored
    assert count(empty, "interactions") == ROWS


def test_a_server_that_is_killed_comes_back_with_the_same_lists(trained: Home) -> None:
    users = [f"user-{number:03d}" for number in range(1, 21)]
    server = trained.serve()
    before = {user: without_times(server.list_for(user, "?explain=true")) for user in users}
    server.kill()
    with trained.serve() as again:
        assert {user: without_times(again.list_for(user, "?explain=true")) for user in users} == before


def test_an_event_that_was_acknowledged_survives_the_kill(trained: Home) -> None:
    server = trained.serve()
    first = server.list_for("user-003")["recommendations"][0]["item_id"]
    event = {"user_id": "user-003", "item_id": first, "kind": "like", "timestamp": datetime.now(UTC).isoformat()}
    server.send("user-003", [event])
    server.kill()
    with trained.serve() as again:
        listed = [entry["item_id"] for entry in again.list_for("user-003", "?limit=100")["recommendations"]]
        assert first not in listed
