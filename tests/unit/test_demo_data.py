"""The demo's data is believable and the same every time."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from app.application.demo.demo_data import HISTORY, DemoData, generate
from app.application.demo.demo_words import GENRES
from app.domain.entities import Kind

ANCHOR = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def data() -> DemoData:
    return generate(ANCHOR)


def test_the_same_arguments_give_the_same_data(data: DemoData) -> None:
    assert generate(ANCHOR) == data
    assert generate(ANCHOR, n_items=20, n_users=5, seed=1) != generate(ANCHOR, n_items=20, n_users=5, seed=2)


def test_there_are_enough_items_and_people(data: DemoData) -> None:
    assert len(data.items) >= 500
    assert len(data.users) >= 300
    assert len({item.item_id for item in data.items}) == len(data.items)


def test_titles_differ_and_every_item_says_what_it_is(data: DemoData) -> None:
    assert len({item.title for item in data.items}) == len(data.items)
    for item in data.items:
        assert set(item.genres) <= set(GENRES)
        assert item.tags
        assert item.year is not None
        assert 1900 < item.year < ANCHOR.year


def test_no_event_is_in_the_future_or_before_its_item(data: DemoData) -> None:
    published = {item.item_id: item.published_at for item in data.items}
    for event in data.interactions:
        released = published[event.item_id]
        assert released is not None
        assert released <= event.occurred_at <= ANCHOR
        assert event.occurred_at > ANCHOR - HISTORY - HISTORY / 10


def test_events_are_in_order_and_have_identities_of_their_own(data: DemoData) -> None:
    assert [e.occurred_at for e in data.interactions] == sorted(e.occurred_at for e in data.interactions)
    assert len({event.event_id for event in data.interactions}) == len(data.interactions)


def test_values_are_in_range(data: DemoData) -> None:
    for event in data.interactions:
        if event.kind is Kind.RATING:
            assert event.value is not None
            assert 0.5 <= event.value <= 5
            assert event.value * 2 == int(event.value * 2)
        if event.kind is Kind.WATCH:
            assert event.value is not None
            assert event.duration is not None
            assert 0 < event.value <= event.duration


def test_people_have_tastes(data: DemoData) -> None:
    """A person's three favourite genres take a larger share of their evenings than anybody's three would."""
    genres = {item.item_id: item.genres[0] for item in data.items}
    watched: dict[str, Counter[str]] = {}
    for event in data.interactions:
        if event.kind is Kind.WATCH:
            watched.setdefault(event.user_id, Counter())[genres[event.item_id]] += 1
    shares = [sum(n for _, n in c.most_common(3)) / c.total() for c in watched.values() if c.total() >= 20]
    everybody = sum(watched.values(), Counter[str]())
    assert sum(shares) / len(shares) > 1.7 * sum(n for _, n in everybody.most_common(3)) / everybody.total()


def test_a_few_items_are_famous_and_hardly_any_is_unknown(data: DemoData) -> None:
    counts = Counter(event.item_id for event in data.interactions if event.kind is Kind.WATCH)
    assert len(counts) > 0.97 * len(data.items)
    assert counts.most_common(1)[0][1] > 3 * sorted(counts.values())[len(counts) // 2]
