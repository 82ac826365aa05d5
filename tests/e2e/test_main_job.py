"""The main job, from files to a list that an event changes, by the commands a user would type."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.application.demo.demo_data import DemoData, generate
from benchmarks.processes import Home, until

NEW_USER = "somebody-new"


def write_files(data: DemoData, folder: Path) -> None:
    with (folder / "interactions.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["user_id", "item_id", "kind", "value", "duration", "timestamp", "event_id"])
        for e in data.interactions:
            rows.writerow([e.user_id, e.item_id, e.kind, e.value, e.duration, e.occurred_at.isoformat(), e.event_id])
    with (folder / "items.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["item_id", "title", "genres", "tags", "year"])
        rows.writerows([i.item_id, i.title, "|".join(i.genres), "|".join(i.tags), i.year] for i in data.items)


def ids(answer: dict[str, object]) -> list[str]:
    entries = answer["recommendations"]
    assert isinstance(entries, list)
    return [entry["item_id"] for entry in entries]


def watched(user: str, item: str, seconds_ago: int = 0) -> dict[str, object]:
    when = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return {
        "user_id": user,
        "video_id": item,
        "watched_duration": 5_000,
        "total_duration": 5_000,
        "timestamp": when.isoformat(),
    }


def test_import_train_serve_and_an_event_that_changes_the_next_list(empty: Home) -> None:
    data = generate(datetime(2026, 11, 1, tzinfo=UTC), n_items=300, n_users=150)
    write_files(data, empty.folder)
    empty.run("import", "items", "items.csv")
    first = empty.ask("import", "interactions", "interactions.csv")
    again = empty.ask("import", "interactions", "interactions.csv")
    assert first["interactions"]["accepted"] == len(data.interactions)
    assert again["interactions"]["accepted"] == 0

    training = empty.ask("train", "--seed", "3")
    assert training["status"] == "promoted", training["reason"]

    with empty.serve() as server:
        before = server.list_for("user-001", "?limit=10&explain=true")
        assert before["is_fallback"] is False
        assert before["model"]["id"] == training["model_id"]
        assert len(before["recommendations"]) == 10
        assert all(entry["title"] and entry["reasons"] for entry in before["recommendations"])
        seen = {event.item_id for event in data.interactions if event.user_id == "user-001"}
        assert not seen & set(ids(before))

        server.send("user-001", [watched("user-001", ids(before)[0])])
        after = server.list_for("user-001", "?limit=10")
        assert ids(before)[0] not in ids(after)
        assert server.stop() == 0


def test_other_weights_are_judged_beside_the_present_ones_and_nothing_is_stored(trained: Home) -> None:
    before = trained.ask("models", "list")

    found = trained.ask("train", "--type", "popular", "--compare-weights", "view=0,like=2")["compared"]
    refused = trained.run("train", "--compare-weights", "wach=1", ok=False)

    assert [one["weights"] for one in found] == ["as set", "view=0,like=2"]
    assert all(0 <= one["metrics"]["ndcg@10"]["low"] <= one["metrics"]["ndcg@10"]["mean"] for one in found)
    assert refused.returncode == 1
    assert "KIND=WEIGHT" in refused.stderr
    assert trained.ask("models", "list") == before


def test_somebody_new_gets_a_fallback_that_says_so_and_after_three_events_a_list_of_their_own(trained: Home) -> None:
    with trained.serve() as server:
        before = server.list_for(NEW_USER)
        assert before["is_fallback"] is True
        assert before["fallback_reason"]

        horror = server.list_for(NEW_USER, "?genre=Horror&limit=3")
        liked = ids(horror)
        server.send(NEW_USER, [watched(NEW_USER, item, n) for n, item in enumerate(liked)])
        after = server.list_for(NEW_USER)
        assert after["is_fallback"] is False
        assert not set(liked) & set(ids(after))
        assert ids(after) != ids(before)


def test_a_new_item_is_recommended_moments_after_its_upsert(trained: Home) -> None:
    """Within a second on a quiet machine: how long it takes is measured by benchmarks, not here."""
    with trained.serve() as server:
        fans = server.list_for(NEW_USER, "?genre=Horror&limit=5")
        server.send(NEW_USER, [watched(NEW_USER, item, n) for n, item in enumerate(ids(fans))])
        token = trained.token("catalog-editor", "catalog:write")
        item = {"title": "The Hollow Cellar Reopened", "genres": ["Horror"], "tags": ["haunted house"], "year": 2025}
        status, _ = server.request("PUT", "/api/v1/items/brand-new", token, item)
        assert status in {200, 201, 204}
        found = False
        for _ in until(10.0, pause=0.1):
            found = "brand-new" in ids(server.list_for(NEW_USER, "?limit=100"))
            if found:
                break
        assert found


def test_running_servers_follow_promote_and_rollback(trained: Home) -> None:
    """M7: both within ten seconds."""
    first = trained.ask("models", "list")["models"][0]["model_id"]
    second = Home(trained.folder, trained.secret, {**trained.settings, "ENCORE_TRAIN_GATE_MARGIN": "-1"})
    training = second.ask("train", "--seed", "5")
    assert training["status"] == "promoted", training["reason"]

    with trained.serve() as one, trained.serve() as two:
        for server in (one, two):
            assert server.list_for("user-002")["model"]["id"] == training["model_id"]
        for command in (("promote", first), ("promote", training["model_id"]), ("rollback",)):
            trained.run("models", *command)
            expected = training["model_id"] if command[-1] == training["model_id"] else first
            for _ in until(10):
                served = {server.list_for("user-002")["model"]["id"] for server in (one, two)}
                if served == {expected}:
                    break
            assert served == {expected}
