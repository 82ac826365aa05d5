"""Names of parts: two different lists of parts never share one, wherever a name decides what somebody is given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.api.cursors import Cursors
from app.domain.entities import Item, User
from app.domain.facets import facets_of, title_key
from app.domain.features import encode_users, user_feature_names
from app.domain.keys import KeyPart, key_text
from app.infrastructure.cache.memory_cache import MemoryCache

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
AWKWARD = st.sampled_from(["", "None", "0", ".", ":", "a.b", "('a',)", "'", '"', "\\", "', '", "\0", "%3A", " "])
PART = st.none() | st.integers() | st.floats(allow_nan=False) | AWKWARD | st.text() | st.binary()
PARTS = st.lists(PART | st.tuples(PART, PART), max_size=4)


@given(PARTS, PARTS)
def test_two_lists_of_parts_have_one_name_only_if_they_are_equal(one: list[KeyPart], other: list[KeyPart]) -> None:
    # Python holds 1 and 1.0, and 0.0 and -0.0, for equal; as parts of a name they may differ.
    if one != other:
        assert key_text(*one) != key_text(*other)
    assert key_text(*one) == key_text(*list(one))


def test_a_name_inside_a_name_stays_in_its_place() -> None:
    assert key_text(key_text("a"), "b") != key_text("a", "b") != key_text("a, b")
    assert key_text("None", None) != key_text(None, "None") != key_text("None", "None")


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_a_cursor_opens_for_no_other_list(one: str, other: str, third: str, fourth: str) -> None:
    cursors = Cursors(b"secret")
    sealed = cursors.seal(key_text(one, other), "7")
    assert cursors.open(key_text(one, other), sealed) == "7"
    if (one, other) != (third, fourth):
        assert key_text(one, other) != key_text(third, fourth)


def columns_of(*attributes: dict[str, object]) -> Sequence[Sequence[float]]:
    """Which features each of these profiles has."""
    profiles = [User(str(number), NOW, profile) for number, profile in enumerate(attributes)]
    names = user_feature_names(profiles * 2)
    return [[float(cell) for cell in row] for row in encode_users(profiles, names).toarray()]


def test_attributes_of_a_profile_do_not_pass_for_one_another() -> None:
    one, other, third = columns_of({"a": "b:c"}, {"a:b": "c"}, {"a%3Ab": "c"})
    assert one != other
    assert other != third
    assert sum(one) == sum(other) == sum(third) == 1


def test_a_plain_attribute_keeps_the_feature_that_older_models_know() -> None:
    assert user_feature_names([User("u", NOW, {"gender": "F"})] * 2) == ("gender:f",)


def test_titles_are_the_same_only_with_the_same_year() -> None:
    items = [Item("i", NOW, title, year=year) for title, year in (("Heat|1", 995), ("Heat", 1995), ("Heat|1995", 1995))]
    assert len({title_key(item) for item in items}) == 3
    assert title_key(items[1]) == title_key(Item("j", NOW, " HEAT ", year=1995))


def test_an_attribute_without_a_value_shares_no_quota_with_the_word_none() -> None:
    nothing = Item("i", NOW, attributes={"studio": [None]})
    word = Item("j", NOW, attributes={"studio": "None"})
    name = "attributes.studio"
    assert facets_of(nothing, [name])[name] == frozenset()
    assert facets_of(word, [name])[name] == {"none"}


async def test_a_person_named_like_a_key_does_not_use_up_its_requests() -> None:
    cache = MemoryCache(1_048_576)
    await cache.read("key:shop", "hybrid", 1)
    assert (await cache.hit("key:shop", 1)).allowed
