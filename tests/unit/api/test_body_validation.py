"""Bodies of many entries are validated an entry at a time: with the findings of the whole model, in any shape."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.api.body_validation import EntriesValidator
from app.api.problems import MAX_FIELD_ERRORS
from app.api.v1.schemas.catalog_schemas import BulkItems, BulkUsers, ItemBody

BY_ENTRY: dict[type[BaseModel], EntriesValidator] = {model: EntriesValidator(model) for model in (BulkItems, BulkUsers)}
WORDS = st.sampled_from(["a", "", "b\x00", "x" * 600, 7, None, True, 1.5, [], {}, ["c"], {"d": 1}])
NAMES = st.sampled_from(["item_id", "user_id", "title", "genres", "year", "attributes", "available", "unknown"])
ENTRIES = st.lists(st.dictionaries(NAMES, WORDS, max_size=4) | WORDS, max_size=14)
BODIES = st.dictionaries(st.sampled_from(["items", "users", "other"]), ENTRIES | WORDS, max_size=2) | WORDS


def found(errors: list[Any]) -> list[tuple[object, ...]]:
    return [(error["type"], *error["loc"]) for error in errors][:MAX_FIELD_ERRORS]


def whole(model: type[BaseModel], body: object) -> object:
    try:
        return model.model_validate(body)
    except ValidationError as refused:
        return found([{**error, "loc": ("body", *error["loc"])} for error in refused.errors()])


def by_entry(model: type[BaseModel], body: object) -> object:
    try:
        return BY_ENTRY[model].validate(body)
    except RequestValidationError as refused:
        return found(list(refused.errors()))


@pytest.mark.parametrize("model", BY_ENTRY)
@given(body=BODIES)
def test_an_entry_at_a_time_finds_what_the_model_finds(model: type[BaseModel], body: object) -> None:
    expected, answer = whole(model, body), by_entry(model, body)
    if isinstance(body, dict) and len(body) == 1:
        assert answer == expected
    else:  # what is beside the entries is named first
        assert isinstance(answer, list) is isinstance(expected, list)


@pytest.mark.parametrize("number", [0, 1, 1_000, 1_001])
def test_the_number_of_entries_keeps_its_bounds(number: int) -> None:
    body = {"items": [{"item_id": f"i{place}"} for place in range(number)]}
    assert by_entry(BulkItems, body) == whole(BulkItems, body)


def test_bodies_that_are_no_list_of_entries_are_left_to_the_framework() -> None:
    assert EntriesValidator.of(ItemBody) is None
    assert EntriesValidator.of(dict) is None
    assert EntriesValidator.of(None) is None
