"""`encore audit` from outside: acts are on record, and whatever is done to the record is named."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.domain.audit import AuditEntry, Outcome, row_hash
from app.infrastructure.database.columns import EPOCH
from app.infrastructure.database.migrate import migrate

ROWS = 12
FIELDS = ("previous", "hash", "act_id", "actor", "act", "target", "after", "key_id", "address", "request_id")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A migrated database, and the environment that points at it."""
    file = tmp_path / "encore.db"
    monkeypatch.setenv("ENCORE_ENVIRONMENT", "test")
    monkeypatch.setenv("ENCORE_DATABASE_URL", f"sqlite+aiosqlite:///{file}")
    monkeypatch.setenv("ENCORE_ARTIFACTS_URL", f"file://{tmp_path / 'artifacts'}")
    monkeypatch.setenv("LOGNAME", "ada")
    migrate(f"sqlite+aiosqlite:///{file}")
    return file


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == exit_code, result.output
    return result.stdout.strip()


def tamper(file: Path, *statements: str) -> None:
    """As somebody who owns the database: the triggers go first."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for act in ("update", "delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS audit_log_no_{act}")
        for statement in statements:
            connection.execute(statement)


def problems(*arguments: str) -> list[str]:
    found: list[str] = json.loads(run("audit", "verify", "--json", *arguments, exit_code=1))["problems"]
    return found


def test_keys_made_and_revoked_are_on_record_without_their_secret(database: Path) -> None:
    made = json.loads(run("api-keys", "create", "web", "--json"))
    run("api-keys", "revoke", made["key_id"])
    run("api-keys", "revoke", "nobody12", exit_code=1)

    rows = [json.loads(line) for line in run("audit", "export").splitlines()]
    assert [(row["act"], row["target"], row["outcome"]) for row in rows] == [
        ("api_key.create", "web", "done"),
        ("api_key.revoke", made["key_id"], "done"),
        ("api_key.revoke", "nobody12", "failed"),
    ]
    assert {row["actor"] for row in rows} == {"cli:ada"}
    assert json.loads(rows[1]["before"])["revoked_at"] is None
    assert json.loads(rows[1]["after"])["revoked_at"] is not None
    assert made["key"].split("_")[3] not in run("audit", "export")
    assert json.loads(run("audit", "list", "--json"))["rows"] == rows[::-1]


def test_replays_are_on_record(database: Path) -> None:
    run("dead-letters", "replay", "--all")

    rows = json.loads(run("audit", "list", "--json"))["rows"]
    assert [(row["act"], row["target"], row["outcome"]) for row in rows] == [
        ("dead_letters.replay", "all", "done"),
        ("dead_letters.replay", "all", "begun"),
    ]


def test_what_cannot_be_recorded_is_not_done(database: Path) -> None:
    tamper(database, "CREATE TRIGGER full BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'full'); END")

    run("api-keys", "create", "web", exit_code=1)
    assert json.loads(run("api-keys", "list", "--json"))["keys"] == []


@pytest.fixture
def filled(database: Path) -> Path:
    """A log of ROWS rows that is whole."""
    for number in range(ROWS):
        run("api-keys", "create", f"client-{number}")
    assert json.loads(run("audit", "verify", "--json"))["rows"] == ROWS
    return database


TAMPERINGS: list[tuple[tuple[str, ...], str]] = [
    *(
        ((f"UPDATE audit_log SET {field} = coalesce({field}, '') || 'x' WHERE sequence = {row}",), f"row {row} was")
        for field in FIELDS
        for row in (1, 4, 7, ROWS)
    ),
    *(((f"UPDATE audit_log SET version = {other}  WHERE sequence = 3",), "row 3 was") for other in (0, 1, 3)),
    *(((f"UPDATE audit_log SET at = at + 1 WHERE sequence = {row}",), f"row {row} was") for row in (1, 5, ROWS)),
    *(((f"DELETE FROM audit_log WHERE sequence = {row}",), f"row {row} is missing") for row in range(1, ROWS)),
    *(
        (
            (
                f"UPDATE audit_log SET sequence = 99 WHERE sequence = {row}",
                f"UPDATE audit_log SET sequence = {row} WHERE sequence = {row + 1}",
                f"UPDATE audit_log SET sequence = {row + 1} WHERE sequence = 99",
            ),
            f"row {row} was",
        )
        for row in range(1, ROWS - 1)
    ),
]


def test_each_of_fifty_tamperings_is_named(filled: Path) -> None:
    assert len(TAMPERINGS) >= 50
    whole = filled.read_bytes()
    for statements, sentence in TAMPERINGS:
        filled.write_bytes(whole)
        tamper(filled, *statements)
        found = problems()
        assert any(problem.startswith(sentence) for problem in found), (statements, found)


def test_a_row_forged_with_a_right_hash_does_not_fit_the_next(filled: Path) -> None:
    def forge(connection: sqlite3.Connection) -> str:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute("SELECT * FROM audit_log WHERE sequence = 5").fetchone())
        moment = EPOCH.fromtimestamp(row["at"] / 1_000_000, EPOCH.tzinfo)
        forged = AuditEntry(
            moment,
            row["act_id"],
            "cli:eve",
            row["act"],
            row["target"],
            Outcome(row["outcome"]),
            row["before"],
            row["after"],
        )
        return row_hash(5, row["previous"], forged)

    with closing(sqlite3.connect(filled)) as connection:
        right = forge(connection)
    tamper(filled, f"UPDATE audit_log SET actor = 'cli:eve', hash = '{right}' WHERE sequence = 5")

    assert problems() == ["row 6 does not follow row 5: one of them was replaced"]


def test_a_cut_off_end_is_found_by_the_head_that_was_noted(filled: Path) -> None:
    head = json.loads(run("audit", "verify", "--json"))["head"]
    run("api-keys", "create", "one-more")
    run("audit", "verify", "--head", head)
    tamper(filled, f"DELETE FROM audit_log WHERE sequence >= {ROWS}")

    run("audit", "verify")
    assert problems("--head", head) == [f"row {ROWS}, the head that was noted, is missing or another one"]
    run("audit", "verify", "--head", "12", exit_code=2)
