"""Nobody writes over an entry of the catalog that she has not seen (RFC 9110 §13)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.running_service import ADMIN, RunningService, is_problem

ITEM = "/api/v1/items/alien"


def put(running: RunningService, title: str, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return running.client.put(ITEM, json={"title": title}, headers={**ADMIN, **named})


def test_a_new_entry_is_created_and_the_next_write_is_a_change(running: RunningService) -> None:
    assert put(running, "Alien").status_code == 201
    assert put(running, "Aliens").status_code == 200
    running.client.delete(ITEM, headers=ADMIN)
    assert put(running, "Alien").status_code == 201


def test_an_entry_has_a_strong_tag_that_changes_with_it(running: RunningService) -> None:
    first = put(running, "Alien").headers["etag"]
    read = running.get(ITEM)
    assert read.headers["etag"] == first
    assert first.startswith('"')
    assert running.get(ITEM, {**ADMIN, "If-None-Match": first}).status_code == 304
    assert running.get(ITEM, {**ADMIN, "If-None-Match": f'"x", W/{first}'}).status_code == 304
    second = running.client.patch(ITEM, json={"year": 1979}, headers=ADMIN).headers["etag"]
    assert second != first
    assert running.get(ITEM, {**ADMIN, "If-None-Match": first}).status_code == 200


def test_what_was_changed_meanwhile_is_not_written_over(running: RunningService) -> None:
    seen = put(running, "Alien").headers["etag"]
    put(running, "Aliens")
    assert is_problem(put(running, "mine", If_Match=seen), 412, "precondition-failed")
    patched = running.client.patch(ITEM, json={"year": 1}, headers={**ADMIN, "If-Match": seen})
    assert is_problem(patched, 412)
    assert is_problem(running.client.delete(ITEM, headers={**ADMIN, "If-Match": seen}), 412)
    assert running.get(ITEM).json()["title"] == "Aliens"
    now = running.get(ITEM).headers["etag"]
    assert put(running, "mine", If_Match=f'"other", {now}').status_code == 200
    assert running.get(ITEM).json()["title"] == "mine"
    assert running.client.delete(ITEM, headers={**ADMIN, "If-Match": "*"}).status_code == 204


@pytest.mark.parametrize("tag", ["*", '"x"', "nonsense", 'W/"x"'])
def test_an_entry_that_is_not_there_matches_nothing(running: RunningService, tag: str) -> None:
    assert is_problem(put(running, "Alien", If_Match=tag), 412)
    assert running.get(ITEM).status_code == 404


def test_a_weak_tag_is_no_condition_to_write_by(running: RunningService) -> None:
    seen = put(running, "Alien").headers["etag"]
    assert is_problem(put(running, "mine", If_Match="W/" + seen), 412)


def test_an_entry_is_made_only_where_there_is_none(running: RunningService) -> None:
    assert put(running, "Alien", If_None_Match="*").status_code == 201
    assert is_problem(put(running, "mine", If_None_Match="*"), 412)
    assert running.get(ITEM).json()["title"] == "Alien"
