"""The catalog's columns: cards, filters, availability, and what a change touches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from app.domain.catalog_view import EMPTY_CARD, CatalogView, card
from app.domain.dataset import IdMap
from app.domain.entities import Item
from app.domain.list_query import Filters

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
EVERYTHING = Filters()


def item(item_id: str, **fields: object) -> Item:
    return Item(item_id, NOW, **fields)  # type: ignore[arg-type]  # the tests below name fields of Item


def shown(view: CatalogView, filters: Filters = EVERYTHING, now: datetime = NOW) -> list[str]:
    allowed = view.allowed(filters, now)
    return [item_id for item_id, fits in zip(view.ids.ids, allowed, strict=True) if fits]


@pytest.fixture
def view() -> CatalogView:
    items = [
        item("a", title="Heat", genres=("Crime", "Drama"), year=1995),
        item("b", title="Up", genres=("Comedy",), year=2009),
        item("d", title="Dune", genres=("Drama",), year=None),
    ]
    return CatalogView.of_model(IdMap(["a", "b", "c"])).updated(items, (), 7)


def test_items_the_model_does_not_know_are_appended(view: CatalogView) -> None:
    assert view.ids.ids == ("a", "b", "c", "d")
    assert (view.n_model, view.revision) == (3, 7)


def test_an_item_known_only_from_interactions_is_shown_with_an_empty_card(view: CatalogView) -> None:
    assert view.cards[2] == EMPTY_CARD
    assert shown(view) == ["a", "b", "c", "d"]


def test_a_card_is_the_inside_of_a_json_object() -> None:
    written = card(item("a", title='He"at', genres=("Crime",), tags=("heist",), year=1995, attributes={"poster": "x"}))

    assert msgspec.json.decode(b"{" + written + b"}") == {
        "title": 'He"at',
        "metadata": {"genres": ["Crime"], "tags": ["heist"], "year": 1995, "attributes": {"poster": "x"}},
    }


def test_genres_are_alternatives_in_any_case(view: CatalogView) -> None:
    assert shown(view, Filters(genres=frozenset({"drama"}))) == ["a", "d"]
    assert shown(view, Filters(genres=frozenset({"DRAMA", "comedy"}))) == ["a", "b", "d"]
    assert shown(view, Filters(genres=frozenset({"Western"}))) == []


def test_year_bounds_are_inclusive_and_leave_out_items_without_a_year(view: CatalogView) -> None:
    assert shown(view, Filters(year_min=1995)) == ["a", "b"]
    assert shown(view, Filters(year_max=1995)) == ["a"]
    assert shown(view, Filters(year_min=1996, year_max=2008)) == []


def test_a_removed_item_is_not_shown_and_comes_back_with_an_upsert(view: CatalogView) -> None:
    removed = view.updated((), ["a", "nobody"], 8)

    assert shown(removed) == ["b", "c", "d"]
    assert shown(removed.updated([item("a", title="Heat")], (), 9)) == ["a", "b", "c", "d"]


def test_an_item_is_shown_from_the_moment_it_opens_until_the_moment_it_closes(view: CatalogView) -> None:
    opens, closes = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    windowed = view.updated([item("a", available_from=opens, available_until=closes)], (), 8)

    moments = [NOW, opens, closes - timedelta(seconds=1), closes]

    assert ["a" in shown(windowed, now=moment) for moment in moments] == [False, True, True, False]


def test_a_change_of_wording_does_not_count_as_a_change_of_lists(view: CatalogView) -> None:
    reworded = view.updated([item("a", title="HEAT", genres=("Crime", "Drama"), year=1995)], (), 8)

    assert (reworded.revision, reworded.lists_revision) == (8, 7)
    assert reworded.title(0) == "HEAT"
    assert view.title(0) == "Heat"


@pytest.mark.parametrize(
    "changed", [item("a", genres=("Crime", "Drama")), item("a", available=False), item("new")], ids=str
)
def test_a_change_that_filters_see_counts_as_a_change_of_lists(view: CatalogView, changed: Item) -> None:
    assert view.updated([changed], (), 8).lists_revision == 8
