"""`encore migrate`, `import` and `export` as a user calls them, killed in the middle too."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

COMMAND_SECONDS = 120


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A database of this test's own, nothing else set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")}
    return {
        **kept,
        "ENCORE_ENVIRONMENT": "test",
        "ENCORE_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/encore.db",
    }


def start(environment: dict[str, str], *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "app.cli", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run(environment: dict[str, str], *arguments: object) -> tuple[int, str, str]:
    process = start(environment, *arguments)
    out, err = process.communicate(timeout=COMMAND_SECONDS)
    return process.returncode, out, err


def result(environment: dict[str, str], *arguments: object) -> dict[str, Any]:
    code, out, err = run(environment, *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def rows_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM interactions").fetchone()[0]
    return count


def write_events(path: Path, count: int) -> None:
    lines = (f"u{n % 997},i{n % 313},{n % 5 + 1},{1_500_000_000 + n}\n" for n in range(count))
    path.write_text("user_id,item_id,rating,timestamp\n" + "".join(lines))


def test_a_file_goes_in_and_comes_out_by_command_line(environment: dict[str, str], tmp_path: Path) -> None:
    events, rejects = tmp_path / "events.csv", tmp_path / "rejects.jsonl"
    events.write_text("who,what,rating,timestamp\nu1,i1,4,964982703\nu2,i1,99,964982703\n")
    assert run(environment, "migrate")[0] == 0

    taken = result(
        environment,
        "import",
        "interactions",
        events,
        "--map",
        "user_id=who,item_id=what",
        "--rejects",
        rejects,
        "--max-rejects",
        "50%",
    )
    written = result(environment, "export", "interactions", tmp_path / "out.jsonl.gz")

    counts = {name: taken["interactions"][name] for name in ("read", "accepted", "duplicates", "rejected")}
    assert counts == {"read": 2, "accepted": 1, "duplicates": 0, "rejected": 1}
    assert taken["seconds"] > 0
    assert json.loads(rejects.read_text())["line"] == 3
    assert written["rows"] == 1


def test_mistakes_end_with_one_clear_line(environment: dict[str, str], tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text("a,b\n1,2\n")
    unmigrated = run(environment, "import", "interactions", events)
    run(environment, "migrate")

    for code, out, err in [
        unmigrated,
        run(environment, "import", "interactions", events),
        run(environment, "import", "interactions", tmp_path / "missing.csv"),
        run(environment, "import", "interactions", tmp_path / "events.xlsx"),
        run(environment, "import", "interactions", events, "--map", "nonsense"),
        run(environment, "import", "movielens", tmp_path),
        run(environment, "import", "movielens", tmp_path / "missing"),
        run(environment, "export", "items", tmp_path / "missing" / "items.csv"),
    ]:
        assert code == 1
        assert out == ""
        assert err.startswith("encore: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err


def test_an_import_that_is_killed_leaves_whole_batches_and_is_completed_by_the_next(
    environment: dict[str, str], tmp_path: Path
) -> None:
    events, database, count = tmp_path / "events.csv", tmp_path / "encore.db", 120_000
    write_events(events, count)
    run(environment, "migrate")
    process = start(environment, "import", "interactions", events)
    deadline = time.monotonic() + COMMAND_SECONDS
    while process.poll() is None and rows_in(database) == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    partial = rows_in(database)
    taken = result(environment, "import", "interactions", events)

    assert 0 < partial < count
    assert partial % 10_000 == 0
    assert taken["interactions"]["accepted"] == count - partial
    assert taken["interactions"]["duplicates"] == partial
    assert rows_in(database) == count
