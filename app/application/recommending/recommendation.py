"""Lists: from the nearest cache if they are fresh, else computed, and in any case answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType

from app import telemetry
from app.application.recommending.audience import EVERYONE, Audience, Person, segment_of
from app.application.recommending.explanation import explain
from app.application.recommending.list_making import Task, make_list, moment_of_ranking
from app.application.recommending.list_memory import HeldList, ListMemory
from app.application.recommending.list_policy import ListPolicy
from app.application.recommending.lists import Filters, ListQuery, Page, Reason, SessionQuery
from app.application.recommending.paging import page_of
from app.application.recommending.ranked_list import RankedList
from app.application.recommending.refreshed import Refreshed, unheard
from app.application.recommending.related import counted_list, popular_list, similar_list
from app.application.recommending.scoring_pool import ScoringPool
from app.application.recommending.shared_copies import SharedCopies, may_compute
from app.application.recommending.shared_lists import SharedLists
from app.application.recommending.single_flight import SingleFlight
from app.application.recommending.stand_in import COUNTED, StandIn
from app.application.recommending.wish import NO_FILTERS, Answer, Key, Wish, variant_of
from app.application.serving.model_serving import ModelServer
from app.application.serving.serving import Serving
from app.application.waiting import Backoff
from app.domain.exceptions import CacheUnavailableError, DatabaseUnavailableError, NotFoundError, OverloadedError
from app.domain.interfaces import Cache, CacheReply
from app.domain.keys import key_text
from app.domain.stores import Database

# Looking a meter up by its labels costs more than counting: once is enough.
_NEAR_HIT, _NEAR_MISS = (telemetry.CACHE_READS.labels("memory", outcome) for outcome in ("hit", "miss"))
_SHARED_HIT, _SHARED_MISS = (telemetry.CACHE_READS.labels("shared", outcome) for outcome in ("hit", "miss"))
_answered = cache(telemetry.LISTS.labels)


class RecommendationService:
    """Every answer names the model that gave it, or says that and why a simpler source did."""

    def __init__(
        self,
        database: Database,
        cache: Cache,
        server: ModelServer,
        clock: Callable[[], datetime],
        policy: ListPolicy,
        by_type: Mapping[str, ModelServer] = MappingProxyType({}),
    ) -> None:
        """`by_type`: servers of models trained for one type alone; those that have one answer for their type."""
        self._interactions = database.interactions
        self._cache = cache
        self._server = server
        self._by_type = by_type
        self._clock = clock
        self._policy = policy
        self.refreshed: Refreshed = unheard  # who is told of a list made anew
        self.making = make_list  # or what counts beside it
        self._copies = SharedCopies(cache, clock, policy)
        self._memory = ListMemory(policy.memory_bytes, policy.memory_ttl_seconds)
        self._flight: SingleFlight[Key, HeldList] = SingleFlight(policy.max_waiting)
        self._shared = SharedLists(self._memory, policy.max_waiting, clock)
        self._audience = Audience(database, policy.signals, policy.history_limit)
        self._stand_in = StandIn(database.interactions, clock)
        self.pool = ScoringPool(policy.threads, policy.max_waiting)

    async def recommend(self, query: ListQuery) -> Page:
        """The page asked for. Raises OverloadedError only if there is no simpler list to give either."""
        page = (await self.answer(query)).page
        assert page is not None  # no quota was asked for
        return page

    async def answer(self, query: ListQuery, limit_per_minute: int | None = None, limit_key: str = "") -> Answer:
        """The page, and the caller's quota from the same round trip to the cache."""
        serving = await self.serving(query.type)
        variant, ticket = variant_of(serving, query), self._memory.dropped(query.user_id)
        reply = await self._copies.read(query.user_id, variant, limit_per_minute, limit_key)
        quota = None if reply is None else reply.quota
        if quota is not None and not quota.allowed:
            return Answer(None, quota)
        wish = Wish(query, serving, None if reply is None else reply.generation, ticket, variant, may_compute(reply))
        held = await self._held(wish, reply)
        if held is None:
            computed = await self._computed(wish)
            page = await self._page(wish, computed, from_cache=False)
        else:
            page = await self._page(wish, held, from_cache=True)
            if reply is not None and reply.value is not None and reply.is_our_turn:
                self._renew(wish)
        _answered(query.type, page.fallback_reason or "none").inc()
        return Answer(page, quota)

    async def session(self, query: SessionQuery) -> Page:
        """A list for a history that came with the request; nothing is stored."""
        serving, now = await self.serving(query.type), self._clock()
        newest = moment_of_ranking(now).timestamp()
        history = tuple((event.item_id, event.weight, newest - age) for age, event in enumerate(query.history))
        seed = key_text(*(event.item_id for event in query.history))
        task = Task(query.type, query.filters, history, query.limit, None, query.shape, seed)
        ranked = await self.pool.run(self.making, serving, task, now)
        person = Person(history)
        reasons = await self._reasons(serving, ranked, query.type, person, 0, query.limit) if query.explain else ()
        return page_of(serving, ranked, query.limit, 0, reasons)

    async def similar(self, item_id: str, limit: int) -> Page:
        """Items like this one. Raises NotFoundError for an item nobody knows, or that is gone."""
        serving = self._server.current
        position = serving.view.ids.position(item_id)
        if position is None or not serving.allowed(NO_FILTERS, self._clock())[position]:
            raise NotFoundError("item")

        async def compute() -> RankedList:
            return await self.pool.run(similar_list, serving, position, self._policy.size, self._clock())

        return await self._shared.page(serving, "*" + key_text("similar", item_id), "", compute, limit)

    async def popular(self, genre: str | None, window: timedelta | None, limit: int) -> Page:
        """What most people use: within a window by the database's count, else by the model's figures."""
        serving, now = await self.serving("popular"), self._clock()
        filters = Filters(genres=frozenset(() if genre is None else (genre,)))

        async def compute() -> RankedList:
            if window is None:
                return await self.pool.run(popular_list, serving, filters, self._policy.size, now)
            try:
                counts = await self._interactions.popular(now - window, COUNTED)
            except DatabaseUnavailableError:
                ranked = await self.pool.run(popular_list, serving, filters, self._policy.size, now)
                return ranked.because("database_unavailable")
            return counted_list(serving, counts, filters, self._policy.size, now)

        name = key_text(genre, None if window is None else window.total_seconds())
        return await self._shared.page(serving, "*popular", name, compute, limit)

    async def serving(self, wanted: str) -> Serving:
        """What answers this type: a model's state, or without one the database's own count of what is popular."""
        serving = self._current(wanted)
        return serving if serving.model is not None else await self._stand_in.serving(serving)

    def _current(self, wanted: str) -> Serving:
        server = self._by_type.get(wanted)
        return self._server.current if server is None or server.current.model is None else server.current

    def forget(self, user_ids: Collection[str]) -> None:
        """Drop what process memory holds for these users: their next list is computed, or read from the cache."""
        for user_id in user_ids:
            self._memory.drop(user_id)

    async def follow(self) -> None:
        """Drop what other processes say has changed, until cancelled."""
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                async for user_id in self._cache.invalidations():
                    backoff.reset()
                    if user_id is None:
                        self._memory.clear()
                    else:
                        self._memory.drop(user_id)
            except CacheUnavailableError:
                telemetry.BACKGROUND_FAILURES.labels("invalidations").inc()
            self._memory.clear()
            await asyncio.sleep(backoff.next_seconds())

    async def close(self) -> None:
        """Stop what is being computed."""
        await self._flight.close()
        await self._shared.close()
        self.pool.close()

    async def _held(self, wish: Wish, reply: CacheReply | None) -> HeldList | None:
        """The list from memory, if it is of the present generation, else what the cache has just given.

        While the cache is away nobody knows the generation. What is held for some seconds more is then as good as what
        would be computed now and held as long, and a thousand users do not all compute in the moment it goes.
        """
        now = self._clock().timestamp()
        held = self._memory.get(wish.user_id, wish.near_variant)
        if held is not None and (reply is None or held.generation == wish.generation) and held.ranked.good_until > now:
            _NEAR_HIT.inc()
            return held
        _NEAR_MISS.inc()
        if reply is None:
            return None
        ranked = self._copies.decoded(wish, reply.value)
        (_SHARED_MISS if ranked is None else _SHARED_HIT).inc()
        if ranked is not None and ranked.segment is not None:
            # Computed anew if this process does not hold it: then the profile is needed, too.
            ranked = self._shared.found(wish.serving, ranked.segment, wish.variant)
        return None if ranked is None else self._keep(wish, ranked)

    def _renew(self, wish: Wish) -> None:
        """Make the list anew while what is stale is served; where too much is computed already, a later one will."""
        with suppress(OverloadedError):
            self._flight.begin(wish.key, lambda: self._compute(wish)).add_done_callback(_renewed)

    async def _computed(self, wish: Wish) -> HeldList:
        try:
            return await self._flight.get(wish.key, lambda: self._compute(wish))
        except OverloadedError as error:
            return await self._without_history(wish, self._clock(), error)

    async def _compute(self, wish: Wish) -> HeldList:
        """Make the list and keep it; where its history cannot be had, the list of those who have none."""
        made = await self._copies.made_elsewhere(wish)
        if made is not None and made.segment is None:
            return self._keep(wish, made)
        now = self._clock()
        try:
            with telemetry.STAGE_SECONDS.labels("history").time():
                person = await self._audience.person(wish.user_id, wish.serving, now)
            if not person.history and wish.serving.model is not None:
                return await self._share(wish, person, now)
            with telemetry.STAGE_SECONDS.labels("rank").time():
                ranked = await self.pool.run(
                    self.making, wish.serving, wish.task(self._policy.size, person, wish.seed), now
                )
        except DatabaseUnavailableError as error:
            return await self._without_history(wish, now, error)
        self.refreshed(wish.user_id, wish.serving, ranked)
        return await self._store(wish, ranked, ranked, now)

    async def _share(self, wish: Wish, person: Person, now: datetime) -> HeldList:
        """The segment's list; the cache notes for this user only which segment it is."""
        segment = segment_of(wish.serving, person.profile)
        ranked = await self._segment_list(wish, segment, person, now)
        note = RankedList(ranked.as_of, ranked.good_until, ranked.fallback, segment)
        return await self._store(wish, note, ranked, now)

    async def _segment_list(self, wish: Wish, segment: str, person: Person, now: datetime) -> RankedList:
        async def compute() -> RankedList:
            return await self.pool.run(self.making, wish.serving, wish.task(self._policy.size, person, segment), now)

        return await self._shared.get(wish.serving, segment, wish.variant, compute)

    async def _without_history(self, wish: Wish, now: datetime, error: Exception) -> HeldList:
        """A list that is not personal and says why; it is not kept, so that the next request tries again."""
        await self._copies.give_up(wish)
        reason = "overloaded" if isinstance(error, OverloadedError) else "database_unavailable"
        ranked = await self._segment_list(wish, EVERYONE, Person(), now)
        if wish.serving.model is None:
            reason = "no_model"
        return HeldList(ranked.because(reason), wish.generation, 0.0)

    async def _store(self, wish: Wish, stored: RankedList, ranked: RankedList, now: datetime) -> HeldList:
        """Write to the cache unless the generation has moved on, and keep in memory."""
        await self._copies.write(wish, stored, now)
        return self._keep(wish, ranked)

    def _keep(self, wish: Wish, ranked: RankedList) -> HeldList:
        return self._memory.put(wish.user_id, wish.near_variant, wish.generation, ranked, wish.ticket)

    async def _page(self, wish: Wish, held: HeldList, *, from_cache: bool) -> Page:
        query, serving = wish.query, wish.serving
        if not query.explain:
            return self._plain_page(serving, query, held, from_cache=from_cache)
        try:
            person = await self._audience.person(query.user_id, serving, self._clock())
        except DatabaseUnavailableError:
            person = Person()
        reasons = await self._reasons(serving, held.ranked, query.type, person, query.offset, query.limit)
        return page_of(serving, held.ranked, query.limit, query.offset, reasons, from_cache=from_cache)

    def _plain_page(self, serving: Serving, query: ListQuery, held: HeldList, *, from_cache: bool) -> Page:
        key = (serving.view.revision, query.offset, query.limit)
        page = held.pages.get(key)
        if page is None:
            page = page_of(serving, held.ranked, query.limit, query.offset, from_cache=from_cache)
            # Asked for a second time: it may be asked for a third.
            if from_cache:
                self._memory.put_page(held, key, page)
        return page

    async def _reasons(
        self, serving: Serving, ranked: RankedList, wanted: str, person: Person, offset: int, limit: int
    ) -> Sequence[tuple[Reason, ...]]:
        recommender, _reason = serving.answering(wanted)
        shown = ranked.positions[offset : offset + limit]
        return await self.pool.run(explain, serving, recommender, person.history, shown, self._clock(), person.profile)


def _renewed(computation: asyncio.Task[HeldList]) -> None:
    """Nobody waits for a renewal, so its failure would be seen by nobody; the next reader of the stale list tries."""
    if not computation.cancelled() and computation.exception() is not None:
        telemetry.BACKGROUND_FAILURES.labels("stale_list").inc()
