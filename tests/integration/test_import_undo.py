"""`encore import --undo`: by the id that an import prints, once, and with what stays said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.integration.import_home import CLI, Home

ROWS = "user_id,item_id,rating,timestamp\nu1,i1,5,2026-01-01T00:00:00Z\nu2,i2,4,2026-01-02T00:00:00Z\n"
MORE = ROWS + "u1,i3,1,2026-01-03T00:00:00Z\n"


def undo(import_id: str, *more: str) -> Result:
    return CliRunner().invoke(CLI, ["import", "--undo", import_id, *more])


@pytest.fixture
def both(home: Home) -> tuple[str, str]:
    """The ids of two imports; the second repeats the rows of the first and adds one."""
    home.write("a.csv", ROWS)
    home.write("b.csv", MORE)
    (_, first, _), (_, second, _) = home.run("interactions a.csv"), home.run("interactions b.csv")
    return first["import_id"], second["import_id"]


def test_an_import_is_taken_back_and_what_was_there_before_stays(home: Home, both: tuple[str, str]) -> None:
    result = undo(both[1], "--json")

    assert json.loads(result.stdout)["removed"] == 1
    assert [(event.user_id, event.item_id) for event in home.events()] == [("u1", "i1"), ("u2", "i2")]
    assert home.take("interactions b.csv")["accepted"] == 1


def test_an_import_says_how_it_is_taken_back(home: Home) -> None:
    file = home.write("a.csv", ROWS)
    said = " ".join(CliRunner().invoke(CLI, ["import", "interactions", str(file)]).stderr.split())
    import_id = said.split("encore import --undo ")[1].split()[0]

    assert undo(import_id).exit_code == 0
    assert not home.events()


def test_only_once_and_only_by_an_id_that_there_is(home: Home, both: tuple[str, str]) -> None:
    assert undo(both[1]).exit_code == 0
    again, unknown = undo(both[1]), undo("nothing")

    assert (again.exit_code, unknown.exit_code) == (1, 1)
    assert again.stderr.strip() == "encore: this import has been undone already"
    assert unknown.stderr.strip() == "encore: no such import"
    assert len(home.events()) == 2


def test_imports_are_listed_newest_first_with_their_state(home: Home, both: tuple[str, str]) -> None:
    undo(both[0])
    listed = json.loads(CliRunner().invoke(CLI, ["import", "list", "--json"]).stdout)["imports"]

    found = [(one["import_id"], one["kind"], one["state"], one["rows"], one["files"]) for one in listed]
    assert found == [
        (both[1], "interactions", "finished", 1, ["b.csv"]),
        (both[0], "interactions", "undone", 2, ["a.csv"]),
    ]


def test_a_catalog_cannot_be_taken_back_and_the_message_says_why(home: Home) -> None:
    home.write("items.csv", "item_id,title\ni1,One\n")
    _, found, _ = home.run("items items.csv")
    result = undo(found["import_id"])

    assert result.exit_code == 1
    assert "earlier versions are not kept" in " ".join(result.stderr.split())
    assert set(home.items()) == {"i1"}


def test_of_a_folder_the_ratings_go_and_the_items_stay(home: Home) -> None:
    folder = home.folder / "ml"
    folder.mkdir()
    (folder / "movies.csv").write_text("movieId,title,genres\n1,Heat (1995),Crime\n")
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,1,4.0,964982703\n")
    _, found, _ = home.run("movielens ml")
    result = undo(found["import_id"])

    assert result.exit_code == 0
    assert "items and users of the folder stay" in result.stderr
    assert not home.events()
    assert not home.users()
    assert set(home.items()) == {"1"}


def test_a_rehearsal_is_no_import(home: Home) -> None:
    home.write("a.csv", ROWS)
    _, found, _ = home.run("interactions a.csv --dry-run")

    assert found["import_id"] is None
    assert json.loads(CliRunner().invoke(CLI, ["import", "list", "--json"]).stdout) == {"imports": []}


@pytest.mark.parametrize("line", [["import"], ["import", "--undo", "x", "items", "a.csv"]])
def test_undo_stands_alone(home: Home, line: list[str]) -> None:
    result = CliRunner().invoke(CLI, line)

    assert result.exit_code == 2
    assert Path(home.folder, "encore.db").exists()
