"""Rules, diversity and propensities over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.running_service import RunningService, api_key, bearer, opened_copy

CRIME = {"kind": "block", "name": "no crime", "select": {"genres": ["Crime"]}}


def shown(running: RunningService, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    return running.client.post(
        "/api/v1/recs/crime-fan-1", json=body, headers=headers or bearer("boss", "recs:admin", "recs:read")
    )


def ids(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer.json()["recommendations"]]


def test_a_service_sends_rules_with_a_request(running: RunningService) -> None:
    key = api_key(running.folder, "gateway", ["recs:read"])
    pin = {"kind": "pin", "name": "p", "select": {"items": ["comedy-19"]}, "position": 2}

    answer = shown(running, {"rules": [CRIME, pin], "limit": 5, "explain": True}, {"Authorization": f"Bearer {key}"})

    assert answer.status_code == 200, answer.text
    assert answer.json()["user_id"] == "crime-fan-1"
    assert len(ids(answer)) == 5
    assert all(item.startswith("comedy") for item in ids(answer))
    second = answer.json()["recommendations"][1]
    assert (second["item_id"], second["source"]) == ("comedy-19", "pinned")
    assert second["reasons"][-1]["kind"] == "pinned"
    assert any(item.startswith("crime") for item in ids(running.get("/api/v1/recs/crime-fan-1")))


def test_people_send_no_rules_not_even_for_themselves(shared: RunningService) -> None:
    assert shown(shared, {"rules": [CRIME]}, bearer("crime-fan-1")).status_code == 403


@pytest.mark.parametrize(
    "rule",
    [
        {**CRIME, "kind": "hide"},
        {**CRIME, "select": {}},
        {**CRIME, "colour": "red"},
        {**CRIME, "kind": "quota"},
        {**CRIME, "since": "2026-12-02T00:00:00Z", "until": "2026-12-01T00:00:00Z"},
    ],
)
def test_an_impossible_rule_is_a_problem_and_no_list(shared: RunningService, rule: dict[str, Any]) -> None:
    answer = shown(shared, {"rules": [rule]})

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "rules" in answer.json()["errors"][0]["pointer"]


def test_diversity_may_be_asked_for_with_three_decimals(shared: RunningService, way: str) -> None:
    usual, mixed = (shared.get(f"/api/v1/recs/crime-fan-1?diversity={strength}") for strength in ("0", "0.8"))

    assert {item[:5] for item in ids(usual)} == {"crime"}
    assert len({item[:5] for item in ids(mixed)}) == 2
    for wrong in ("1.5", "-0.1", "0.1234", "nan", "1e-1", ""):
        assert shared.get(f"/api/v1/recs/crime-fan-1?diversity={wrong}").status_code == 422


def test_rules_of_the_settings_hold_for_every_list_and_propensities_are_told_with_reasons(
    built: Path, tmp_path: Path
) -> None:
    rules = '[{"kind": "block", "name": "no crime", "select": {"genres": ["crime"]}}]'
    with opened_copy(
        built, tmp_path, rules=rules, explore_share=0.5, explore_position=2, explore_pool=2, list_size=5
    ) as running:
        told = running.get("/api/v1/recs/crime-fan-1?explain=true").json()["recommendations"]
        plain = running.get("/api/v1/recs/crime-fan-1").json()["recommendations"]

    assert all(item["item_id"].startswith("comedy") for item in told)
    assert [item.get("propensity") for item in told][::2] == [None] * 3
    assert told[1]["propensity"] in (0.5, 0.25)
    assert not any("propensity" in item for item in plain)
