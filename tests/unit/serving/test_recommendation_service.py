"""Lists as their readers see them: personal, fresh, filtered, paged, and honest about what they are."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from app.application.ingestion.event_decoding import decode_event
from app.domain.entities import Interaction, User
from app.domain.exceptions import NotFoundError
from app.domain.list_query import Filters, ListQuery, Page, RankedItem, SessionEvent, SessionQuery
from app.domain.stores import IngestBatch
from tests.unit.serving.world import ITEMS, NOW, World, following, rated

TITLES = {item.item_id: item.title for item in ITEMS}


def ids(page: Page) -> list[str]:
    return [line.item_id for line in page.items]


async def test_a_user_without_history_gets_a_fallback_that_says_so(world: World) -> None:
    page = await world.lists.recommend(ListQuery("somebody"))

    assert (page.is_fallback, page.fallback_reason) == (True, "no_history")
    assert len(page.items) == 10
    assert page.total == 40
    assert {line.source for line in page.items} == {"popular"}
    assert page.model is not None
    assert page.model.model_id == "model-1"


async def test_after_three_events_the_list_is_personal_without_the_three_and_unlike_popularity(world: World) -> None:
    before = await world.lists.recommend(ListQuery("somebody"))

    await world.rate("somebody", "comedy-07", "comedy-08", "comedy-09")
    after = await world.lists.recommend(ListQuery("somebody"))

    assert not after.is_fallback
    assert after.fallback_reason is None
    assert not {"comedy-07", "comedy-08", "comedy-09"} & set(ids(after))
    assert all(item_id.startswith("comedy") for item_id in ids(after))
    assert ids(after) != ids(before)
    assert after.etag != before.etag


async def test_each_event_changes_the_very_next_list(world: World) -> None:
    for number in range(5):
        first = ids(await world.lists.recommend(ListQuery("somebody")))[0]
        await world.rate("somebody", first)
        assert first not in ids(await world.lists.recommend(ListQuery("somebody", limit=100))), number


async def test_a_second_request_comes_from_the_cache_and_says_the_same(world: World) -> None:
    await world.rate("somebody", "crime-05")
    first = await world.lists.recommend(ListQuery("somebody"))
    second = await world.lists.recommend(ListQuery("somebody"))

    assert (first.from_cache, second.from_cache) == (False, True)
    assert (second.items, second.etag, second.as_of) == (first.items, first.etag, first.as_of)


async def test_a_list_found_in_the_shared_cache_equals_the_computed_one(world: World) -> None:
    await world.rate("somebody", "crime-05")
    for user in ("somebody", "nobody"):
        computed = await world.lists.recommend(ListQuery(user))
        world.lists.forget([user])
        found = await world.lists.recommend(ListQuery(user))

        assert found.from_cache
        assert (found.items, found.etag, found.fallback_reason) == (
            computed.items,
            computed.etag,
            computed.fallback_reason,
        )


async def test_a_bump_by_another_process_counts_before_its_message_is_heard(world: World) -> None:
    before = await world.lists.recommend(ListQuery("somebody"))
    event = decode_event(rated("somebody", "crime-05"), world.clock.now)
    assert isinstance(event, Interaction)

    await world.database.interactions.ingest(IngestBatch([event]))
    await world.cache.bump(["somebody"])

    after = await world.lists.recommend(ListQuery("somebody"))
    assert (before.is_fallback, after.is_fallback) == (True, False)


async def test_pages_are_slices_of_one_list(world: World) -> None:
    whole = await world.lists.recommend(ListQuery("somebody", limit=100))
    pages = [await world.lists.recommend(ListQuery("somebody", limit=15, offset=offset)) for offset in (0, 15, 30, 45)]

    assert [line for page in pages for line in page.items] == list(whole.items)
    assert [line.rank for line in whole.items] == list(range(1, 41))
    assert [len(page.items) for page in pages] == [15, 15, 10, 0]
    assert len({page.etag for page in pages}) == 4


async def test_filters_fill_the_list_while_there_are_items_that_fit(world: World) -> None:
    await world.rate("somebody", "crime-05")
    comedy = Filters(genres=frozenset({"comedy"}))
    fifties = Filters(year_min=1952, year_max=1955)

    assert len(ids(await world.lists.recommend(ListQuery("somebody", limit=20, filters=comedy)))) == 20
    chosen = ids(await world.lists.recommend(ListQuery("somebody", limit=20, filters=fifties)))
    assert sorted(chosen) == ["crime-02", "crime-03", "crime-04"]


async def test_excluded_items_are_left_out_and_seen_ones_come_back_on_request(world: World) -> None:
    await world.rate("somebody", "crime-05")
    seen = Filters(exclude_seen=False, exclude=frozenset({"crime-00", "unheard-of"}))

    page = await world.lists.recommend(ListQuery("somebody", limit=100, filters=seen))

    assert "crime-05" in ids(page)
    assert "crime-00" not in ids(page)
    assert page.total == 39


async def test_a_type_is_answered_by_its_member(world: World) -> None:
    await world.rate("somebody", "crime-05")

    content = await world.lists.recommend(ListQuery("somebody", type="content"))
    popular = await world.lists.recommend(ListQuery("somebody", type="popular"))

    assert {line.source for line in content.items} == {"content"}
    assert {line.source for line in popular.items} == {"popular"}
    assert not popular.is_fallback
    assert "crime-05" not in ids(popular)


async def test_a_type_the_model_does_not_have_is_a_fallback_with_its_reason(world: World) -> None:
    await world.rate("somebody", "crime-05")

    page = await world.lists.recommend(ListQuery("somebody", type="sequential"))

    assert (page.is_fallback, page.fallback_reason) == (True, "model_has_no_such_member")
    assert len(page.items) == 10


async def test_a_model_trained_for_one_type_answers_that_type_alone(world: World) -> None:
    own = await world.train({}, "content", "collaborative")
    await world.stack.start()

    asked_for = await world.lists.recommend(ListQuery("crime-fan-1", type="collaborative"))
    default = await world.lists.recommend(ListQuery("crime-fan-1"))

    assert asked_for.model is not None
    assert (asked_for.model.model_id, asked_for.model.model_type) == (own.model_id, "collaborative")
    assert default.model is not None
    assert default.model.model_id == "model-1"
    assert not asked_for.is_fallback


async def test_people_without_history_share_the_list_of_their_profile(world: World) -> None:
    """Those who love crime are old, those who love comedy young; only the model with profiles knows."""
    fans = [(f"crime-fan-{number}", "old") for number in range(10)] + [(f"comedy-fan-{n}", "young") for n in range(6)]
    newcomers = [("old-1", "old"), ("old-2", "old"), ("young-1", "young"), ("odd", "unheard-of")]
    await world.stack.catalog.put_users([User(user, NOW, {"age_group": age}) for user, age in fans + newcomers])
    await world.train({"members": {"profile": {"regularization": 1.0}}, "weights": {"profile": [1.0]}, "knots": [0]})
    await world.server.refresh_model()

    pages = {user: await world.lists.recommend(ListQuery(user, limit=8)) for user, _age in newcomers}
    nobody = await world.lists.recommend(ListQuery("nobody", limit=8))

    assert all(page.fallback_reason == "no_history" for page in pages.values())
    assert all(item_id.startswith("crime") for item_id in ids(pages["old-1"])[:5])
    assert all(item_id.startswith("comedy") for item_id in ids(pages["young-1"])[:5])
    assert pages["old-1"].items == pages["old-2"].items
    assert pages["odd"].items == nobody.items
    assert ids(nobody) not in (ids(pages["old-1"]), ids(pages["young-1"]))


async def test_a_changed_profile_changes_the_next_list(world: World) -> None:
    fans = [(f"crime-fan-{number}", "old") for number in range(10)] + [(f"comedy-fan-{n}", "young") for n in range(6)]
    await world.stack.catalog.put_users([User(user, NOW, {"age_group": age}) for user, age in fans])
    await world.train({"members": {"profile": {"regularization": 1.0}}, "weights": {"profile": [1.0]}, "knots": [0]})
    await world.server.refresh_model()
    before = await world.lists.recommend(ListQuery("somebody"))

    await world.stack.catalog.put_users([User("somebody", NOW, {"age_group": "young"})])

    assert (await world.lists.recommend(ListQuery("somebody"))).items != before.items


async def test_reasons_name_the_items_that_carry_the_score(world: World) -> None:
    await world.rate("somebody", "crime-05", "comedy-01", "crime-06")

    page = await world.lists.recommend(ListQuery("somebody", limit=5, explain=True))

    for line in page.items:
        because = [reason for reason in line.reasons if reason.kind == "because_you_watched"]
        genre = line.item_id.partition("-")[0]
        assert because
        assert because[0].item_id is not None
        assert because[0].item_id.startswith(genre)
        assert because[0].title == TITLES[because[0].item_id]
        assert because[0].contribution > 0


async def test_reasons_add_up_to_the_score(world: World) -> None:
    await world.rate("somebody", "crime-05", "comedy-01", "crime-06", "crime-07", "comedy-02")

    for user_id in ("somebody", "nobody"):
        page = await world.lists.recommend(ListQuery(user_id, limit=40, explain=True))
        for line in page.items:
            assert sum(reason.contribution for reason in line.reasons) == pytest.approx(line.score, abs=1e-5)
            assert len(line.reasons) <= 6


async def test_who_has_no_history_is_told_that_it_is_popularity(world: World) -> None:
    page = await world.lists.recommend(ListQuery("nobody", explain=True))

    assert {reason.kind for line in page.items for reason in line.reasons} == {"popular", "typical"}
    popular, typical = page.items[0].reasons
    assert popular.contribution > 0
    assert popular.contribution + typical.contribution == pytest.approx(page.items[0].score, abs=1e-5)


async def test_without_the_cited_item_the_score_falls_by_what_the_reason_claims(world: World) -> None:
    history = tuple(SessionEvent(item_id) for item_id in ("comedy-07", "crime-05", "comedy-08"))
    page = await world.lists.session(SessionQuery(history, limit=40, explain=True))

    for line in page.items[:5]:
        reason = next(reason for reason in line.reasons if reason.item_id is not None)
        rest = tuple(event for event in history if event.item_id != reason.item_id)
        less = await world.lists.session(SessionQuery(rest, limit=40, explain=True))
        other = next(other for other in less.items if other.item_id == line.item_id)
        # Beyond what a typical item loses.
        fall = (line.score - typical_of(line)) - (other.score - typical_of(other))
        assert fall == pytest.approx(reason.contribution, abs=1e-4)


def typical_of(line: RankedItem) -> float:
    assert line.reasons[-1].kind == "typical"
    return line.reasons[-1].contribution


async def test_a_session_gets_the_list_a_user_with_that_history_would_get(world: World) -> None:
    page = await world.lists.session(SessionQuery((SessionEvent("comedy-07"), SessionEvent("comedy-08")), limit=5))

    assert not page.is_fallback
    assert len(page.items) == 5
    assert all(item_id.startswith("comedy") for item_id in ids(page))
    assert not {"comedy-07", "comedy-08"} & set(ids(page))


async def test_a_session_of_unknown_items_says_that_it_is_a_fallback(world: World) -> None:
    page = await world.lists.session(SessionQuery((SessionEvent("unheard-of"),)))

    assert (page.is_fallback, page.fallback_reason) == (True, "history_unknown_to_model")
    assert len(page.items) == 10


async def test_similar_items_share_the_genre_and_leave_out_the_item_itself(world: World) -> None:
    page = await world.lists.similar("comedy-07", 10)

    assert len(page.items) == 10
    assert all(item_id.startswith("comedy") for item_id in ids(page))
    assert "comedy-07" not in ids(page)


async def test_a_page_for_everybody_is_made_once_and_anew_when_the_catalog_changes(world: World) -> None:
    async def both(limit: int) -> tuple[Page, Page]:
        return await world.lists.similar("comedy-07", limit), await world.lists.popular(None, None, limit)

    similar, popular = await both(10)
    again = await both(10)
    assert (again[0] is similar, again[1] is popular) == (True, True)
    assert [len(page.items) for page in await both(3)] == [3, 3]

    gone = ids(similar)[0]
    await world.stack.catalog.remove_items([gone, ids(popular)[0]])
    await world.server.refresh_catalog()

    assert gone not in ids((await both(10))[0])
    assert ids(popular)[0] not in ids((await both(10))[1])


async def test_what_is_like_an_unknown_or_removed_item_is_not_found(world: World) -> None:
    await world.stack.catalog.remove_items(["comedy-07"])
    await world.server.refresh_catalog()

    for item_id in ("unheard-of", "comedy-07"):
        with pytest.raises(NotFoundError):
            await world.lists.similar(item_id, 10)


async def test_popular_items_come_by_number_of_people(world: World) -> None:
    page = await world.lists.popular(None, None, 2)
    comedy = await world.lists.popular("Comedy", None, 1)

    assert ids(page) == ["crime-00", "comedy-00"]
    assert ids(comedy) == ["comedy-00"]


async def test_a_removed_item_leaves_every_list_and_the_lists_stay_full(world: World) -> None:
    first = ids(await world.lists.recommend(ListQuery("somebody")))[0]

    await world.stack.catalog.remove_item(first)
    await world.server.refresh_catalog()

    page = await world.lists.recommend(ListQuery("somebody"))
    assert first not in ids(page)
    assert len(page.items) == 10


async def test_fifty_requests_for_one_cold_list_compute_it_once(world: World) -> None:
    await world.rate("somebody", "crime-05")

    pages = await asyncio.gather(*(world.lists.recommend(ListQuery("somebody")) for _ in range(50)))

    assert len({page.as_of for page in pages}) == 1
    assert len({id(page.items[0].card) for page in pages}) == 1


async def test_a_restart_gives_the_same_list(world: World) -> None:
    await world.rate("somebody", "crime-05", "crime-11")
    before = await world.lists.recommend(ListQuery("somebody", limit=100))
    await world.cache.bump(["somebody"])
    world.lists.forget(["somebody"])

    after = await world.lists.recommend(ListQuery("somebody", limit=100))

    assert not after.from_cache
    assert (after.items, after.etag) == (before.items, before.etag)


async def test_without_a_model_the_database_counts_what_is_popular(untrained_world: World) -> None:
    page = await untrained_world.lists.recommend(ListQuery("crime-fan-1", limit=100))

    assert (page.is_fallback, page.fallback_reason, page.model) == (True, "no_model", None)
    assert ids(page)[0] == "comedy-00"
    assert "crime-00" not in ids(page)


async def test_with_nothing_at_all_the_list_is_empty_and_says_why(empty_world: World) -> None:
    await empty_world.stack.start()

    page = await empty_world.lists.recommend(ListQuery("somebody"))

    assert (page.items, page.is_fallback, page.fallback_reason) == ((), True, "no_model")


async def test_a_refused_quota_costs_no_work(world: World) -> None:
    assert (await world.lists.answer(ListQuery("somebody"), 1, "caller")).page is not None

    refused = await world.lists.answer(ListQuery("somebody"), 1, "caller")

    assert refused.page is None
    assert refused.quota is not None
    assert not refused.quota.allowed


async def test_an_import_by_another_process_renews_lists_by_itself(world: World) -> None:
    query = ListQuery("somebody")
    await world.lists.recommend(query)
    event = decode_event(rated("somebody", "crime-05"), world.clock.now)
    assert isinstance(event, Interaction)
    async with following(world), asyncio.timeout(60):
        await world.database.interactions.ingest(IngestBatch([event]))
        while (await world.lists.recommend(query)).is_fallback:  # noqa: ASYNC110 - as a client would ask
            await asyncio.sleep(0.01)


async def test_the_genre_none_is_not_the_absence_of_a_genre(world: World) -> None:
    empty = await world.lists.popular("None", None, 10)
    everything = await world.lists.popular(None, None, 10)
    assert not empty.items
    assert len(everything.items) == 10


async def test_lists_of_everybody_have_names_that_no_item_and_no_genre_can_take(world: World) -> None:
    week = timedelta(days=7)
    asked = [(None, None), (None, week), ("Crime", None), ("Crime", week), (f"Crime.{week}", None), ("None", week)]
    pages = [await world.lists.popular(genre, window, 10) for genre, window in asked]
    assert len({id(page) for page in pages}) == len(asked)
    again = [await world.lists.popular(genre, window, 10) for genre, window in asked]
    assert all(page is kept for page, kept in zip(pages, again, strict=True))
