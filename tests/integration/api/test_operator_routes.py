"""What operators read and put right over HTTP: dead letters, reports, histories, their own credential, searches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from app.bootstrap import open_container
from app.connecting import utc_now
from app.domain.entities import DeadLetter, Item
from app.domain.reports import Report
from tests.integration.api.running_service import (
    ADMIN,
    RunningService,
    bearer,
    is_problem,
    opened_copy,
    rated,
    settings_of,
)

RATED = "profile-service.video-rated"
RULE = {"kind": "pin", "name": "premiere", "select": {"items": ["comedy-07"]}, "position": 1}


@pytest.fixture(scope="module")
def service(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("operators")
    with opened_copy(built, folder) as running:
        asyncio.run(prepare(folder))
        yield running


async def prepare(folder: Path) -> None:
    """Two days of figures, an item with a title to look for, a letter that is acceptable and one that is not."""
    async with open_container(settings_of(folder)) as container:
        now = utc_now().replace(second=0, microsecond=0)
        for days in (2, 1):
            slot = now - timedelta(days=days)
            assert await container.database.reports.claim("kpis", slot, now)
            await container.database.reports.finish(Report("kpis", slot, now, now, None, {"active_users": 10.0 * days}))
        await container.database.catalog.upsert_items([Item("odd-1", now, "100% Wolf")])
        good = json.dumps(rated("crime-fan-1", "crime-19")).encode()
        await container.database.dead_letters.add(
            [
                DeadLetter("kafka", reason, payload, sha256(payload).hexdigest(), now, RATED, 0, offset)
                for offset, (reason, payload) in enumerate((("unknown_item", good), ("decode", b"{\xff")))
            ]
        )


def test_letters_are_listed_and_what_is_acceptable_now_goes_in_once_and_on_record(service: RunningService) -> None:
    listed = service.get("/api/v1/dead-letters").json()
    good, bad = listed["dead_letters"]
    replay = partial(service.client.post, "/api/v1/dead-letters/replay", headers=ADMIN)

    assert listed["waiting"] == 2
    assert (bad["topic"], bad["offset"], bad["payload"]) == (RATED, 1, "{\\xff")
    assert replay(json={"ids": [good["id"], bad["id"]]}).json() == {
        "replayed": [good["id"]],
        "refused": {"decode": 1},
        "stale_lists": 0,
    }
    assert replay(json={"ids": [good["id"]]}).json()["refused"] == {"replayed_before": 1}
    assert service.get("/api/v1/dead-letters").json()["waiting"] == 1
    assert service.get(f"/api/v1/dead-letters?after={good['id']}").json()["dead_letters"] == [bad]
    assert service.get("/api/v1/dead-letters?reason=nothing").json()["dead_letters"] == []
    assert is_problem(replay(json={"ids": [good["id"], 999_999]}), 404, "not-found")
    assert is_problem(replay(json={"ids": []}), 422)
    newest = asyncio.run(acts(service.folder))
    assert newest[:2] == [("user:boss", "dead_letters.replay", "failed"),
                          ("user:boss", "dead_letters.replay", "begun")]  # fmt: skip
    assert ("user:boss", "dead_letters.replay", "done") in newest


async def acts(folder: Path) -> list[tuple[str, str, str]]:
    """What the audit log says, newest first."""
    async with open_container(settings_of(folder)) as container:
        rows = await container.database.audit.newest(10)
    return [(row.entry.actor, row.entry.act, row.entry.outcome.value) for row in rows]


def test_reports_come_newest_first_and_only_by_their_names(service: RunningService) -> None:
    reports = service.get("/api/v1/reports/kpis").json()["reports"]

    assert [report["figures"]["active_users"] for report in reports] == [10.0, 20.0]
    assert service.get("/api/v1/reports/kpis?limit=1").json()["reports"] == reports[:1]
    assert service.get("/api/v1/reports/evaluation").json() == {"reports": []}
    assert is_problem(service.get("/api/v1/reports/secrets"), 422)


def test_a_credential_says_what_it_allows(service: RunningService) -> None:
    mine = service.get("/api/v1/credential", bearer("u1", "recs:read", "events:write")).json()

    assert mine == {"subject": "u1", "is_service": False, "scopes": ["events:write", "recs:read"]}


def test_a_history_is_what_ranking_sees_with_titles_newest_first(service: RunningService) -> None:
    for item, minutes, rating in (("comedy-03", 30, 5.0), ("comedy-04", 10, 1.0)):
        sent = service.client.post("/api/v1/events", json=rated("newcomer", item, rating, minutes), headers=ADMIN)
        assert sent.status_code == 202, sent.text

    history = service.get("/api/v1/users/newcomer/history").json()["history"]

    assert [(entry["item_id"], entry["title"]) for entry in history] == [
        ("comedy-04", "Comedy Co4"),
        ("comedy-03", "Comedy Co3"),
    ]
    assert history[0]["weight"] < history[1]["weight"]
    assert service.get("/api/v1/users/newcomer/history?limit=1").json()["history"] == history[:1]
    assert service.get("/api/v1/users/nobody/history").json() == {"user_id": "nobody", "history": []}


def test_the_catalog_is_searched_by_words_of_title_and_id_with_nothing_special_in_them(service: RunningService) -> None:
    def found(words: str) -> list[str]:
        answer = service.client.get("/api/v1/items", params={"search": words, "limit": 100}, headers=ADMIN)
        return [item["item_id"] for item in answer.json()["items"]]

    assert found("COMEDY co1") == [f"comedy-{n}" for n in (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, *())] or found(
        "COMEDY co1"
    ) == ["comedy-01", *(f"comedy-{n}" for n in range(10, 20))]
    assert found("100%") == ["odd-1"]
    assert found("ODD-") == ["odd-1"]
    assert found("0_ ") == []


def test_a_cursor_of_one_search_does_not_fit_another(service: RunningService) -> None:
    first = service.get("/api/v1/items?search=comedy&limit=2").json()
    cursor = first["pagination"]["next_cursor"]

    assert [item["item_id"] for item in service.get(f"/api/v1/items?search=comedy&limit=1&cursor={cursor}").json()["items"]] == ["comedy-02"]  # fmt: skip  # noqa: E501
    assert is_problem(service.get(f"/api/v1/items?search=crime&cursor={cursor}"), 400)


def test_a_session_may_be_spread_and_shaped_by_rules_of_services_and_admins_alone(service: RunningService) -> None:
    body = {"history": ["crime-01"], "limit": 5, "rules": [RULE]}
    answered = service.client.post("/api/v1/recs/session", json=body, headers=ADMIN).json()

    assert (
        answered["recommendations"][0] | {"item_id": "comedy-07", "source": "pinned"} == answered["recommendations"][0]
    )
    for who in (bearer("u1"),):
        assert is_problem(service.client.post("/api/v1/recs/session", json=body, headers=who), 403, "forbidden")
        spread = {"history": ["crime-01"], "diversity": 0.9}
        assert service.client.post("/api/v1/recs/session", json=spread, headers=who).status_code == 200
