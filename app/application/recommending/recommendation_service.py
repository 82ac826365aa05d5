"""Lists: from the nearest cache if they are fresh, else computed, and in any case answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache

from app import telemetry
from app.application.ranking.item_lists import counted_list, popular_list, similar_list
from app.application.ranking.list_ranking import Ranker, RankingTask, rank_list, ranking_time
from app.application.ranking.serving_state import ServingState
from app.application.recommending.list_policy import ListPolicy
from app.application.recommending.list_request import NO_FILTERS, ListRequest, ListResponse, RequestKey, variant_of
from app.application.recommending.local_cache import LocalList, LocalListCache
from app.application.recommending.next_pages import NextPages
from app.application.recommending.page_reasons import PageReasons
from app.application.recommending.pages import build_page
from app.application.recommending.popularity_fallback import MAX_COUNTED, PopularityFallback
from app.application.recommending.refresh_events import RefreshListener, no_op_listener
from app.application.recommending.remote_cache import RemoteListCache, may_compute
from app.application.recommending.scoring_pool import ScoringPool
from app.application.recommending.segment_lists import SegmentLists
from app.application.recommending.single_flight import SingleFlight
from app.application.recommending.user_context import EVERYONE, UserContext, UserContextReader, segment_of
from app.application.serving.model_routing import ModelRouting
from app.application.waiting import Backoff
from app.domain.exceptions import CacheUnavailableError, DatabaseUnavailableError, NotFoundError, OverloadedError
from app.domain.interfaces import Cache, CacheReply
from app.domain.keys import key_text
from app.domain.list_query import Filters, ListQuery, Page, SessionQuery
from app.domain.ranked_list import RankedList
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
        models: ModelRouting,
        clock: Callable[[], datetime],
        policy: ListPolicy,
        rank: Ranker = rank_list,
        refreshed: RefreshListener = no_op_listener,
    ) -> None:
        """`models`: which of them answers what. `refreshed` hears of each personal list made."""
        self._interactions = database.interactions
        self._cache = cache
        self._models = models
        self._clock = clock
        self._policy = policy
        self._refreshed = refreshed
        self._rank = rank
        self._copies = RemoteListCache(cache, clock, policy)
        self._memory = LocalListCache(policy.memory_bytes, policy.memory_ttl_seconds)
        self._flight: SingleFlight[RequestKey, LocalList] = SingleFlight(policy.max_waiting)
        self._shared = SegmentLists(self._memory, policy.max_waiting, clock)
        self._user_reader = UserContextReader(database, policy.signals, policy.history_limit)
        self._popularity_fallback = PopularityFallback(database.interactions, clock)
        self.pool = ScoringPool(policy.threads, policy.max_waiting)
        self._page_reasons = PageReasons(self._user_reader, self.pool, clock)
        self.next_pages = NextPages(self._serving_of, self._caught_up, self._page_reasons, self.pool, clock)

    async def recommend(self, query: ListQuery) -> Page:
        """The page asked for. Raises OverloadedError only if there is no simpler list to give either."""
        page = (await self.answer(query)).page
        assert page is not None  # no quota was asked for
        return page

    async def answer(self, query: ListQuery, limit_per_minute: int | None = None, limit_key: str = "") -> ListResponse:
        """The page, and the caller's quota from the same round trip to the cache."""
        serving = await self._serving_of(query)
        variant, ticket = variant_of(serving, query), self._memory.dropped(query.user_id)
        reply = await self._copies.read(query.user_id, variant, limit_per_minute, limit_key)
        quota = None if reply is None else reply.quota
        if quota is not None and not quota.allowed:
            return ListResponse(None, quota)
        request = ListRequest(
            query, serving, None if reply is None else reply.generation, ticket, variant, may_compute(reply)
        )
        held = await self._held(request, reply)
        if held is None:
            computed = await self._computed(request)
            page = await self._page(request, computed, from_cache=False)
        else:
            page = await self._page(request, held, from_cache=True)
            if reply is not None and reply.value is not None and reply.has_lease:
                self._renew(request)
        _answered(query.type, page.fallback_reason or "none").inc()
        return ListResponse(page, quota)

    async def session(self, query: SessionQuery) -> Page:
        """A list for a history that came with the request; nothing is stored."""
        serving, now = await self.serving(query.type), self._clock()
        newest = ranking_time(now).timestamp()
        history = tuple((event.item_id, event.weight, newest - age) for age, event in enumerate(query.history))
        seed = key_text(*(event.item_id for event in query.history))
        task = RankingTask(query.type, query.filters, history, query.limit, None, query.shape, seed)
        ranked = await self.pool.run(self._rank, serving, task, now)
        if not query.explain:
            return build_page(serving, ranked, query.limit, 0)
        reasons = await self._page_reasons.for_person(serving, ranked, query.type, UserContext(history), 0, query.limit)
        return build_page(serving, ranked, query.limit, 0, reasons)

    async def similar(self, item_id: str, limit: int) -> Page:
        """Items like this one. Raises NotFoundError for an item nobody knows, or that is gone."""
        serving = self._models.main.current
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
                counts = await self._interactions.popular(now - window, MAX_COUNTED)
            except DatabaseUnavailableError:
                ranked = await self.pool.run(popular_list, serving, filters, self._policy.size, now)
                return ranked.as_fallback("database_unavailable")
            return counted_list(serving, counts, filters, self._policy.size, now)

        name = key_text(genre, None if window is None else window.total_seconds())
        return await self._shared.page(serving, "*popular", name, compute, limit)

    async def serving(self, wanted: str) -> ServingState:
        """What answers this type: a model's state, or without one the database's own count of what is popular."""
        return await self._or_popular(self._models.champion(wanted).current)

    async def _serving_of(self, query: ListQuery) -> ServingState:
        return await self._or_popular(self._models.of(query).current)

    async def _or_popular(self, serving: ServingState) -> ServingState:
        return serving if serving.model is not None else await self._popularity_fallback.serving(serving)

    async def _caught_up(self, query: ListQuery) -> None:
        await self._models.of(query).refresh_catalog()

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

    async def _held(self, request: ListRequest, reply: CacheReply | None) -> LocalList | None:
        """The list from memory, if it is of the present generation, else what the cache has just given.

        While the cache is away nobody knows the generation. What is held for some seconds more is then as good as what
        would be computed now and held as long, and a thousand users do not all compute in the moment it goes.
        """
        now = self._clock().timestamp()
        held = self._memory.get(request.user_id, request.local_cache_key)
        if (
            held is not None
            and (reply is None or held.generation == request.generation)
            and held.ranked.good_until > now
        ):
            _NEAR_HIT.inc()
            return held
        _NEAR_MISS.inc()
        if reply is None:
            return None
        ranked = self._copies.decoded(request, reply.value)
        (_SHARED_MISS if ranked is None else _SHARED_HIT).inc()
        if ranked is not None and ranked.segment is not None:
            # Computed anew if this process does not hold it: then the profile is needed, too.
            ranked = self._shared.found(request.serving, ranked.segment, request.variant)
        return None if ranked is None else self._keep(request, ranked)

    def _renew(self, request: ListRequest) -> None:
        """Make the list anew while what is stale is served; where too much is computed already, a later one will."""
        with suppress(OverloadedError):
            self._flight.begin(request.key, lambda: self._compute(request)).add_done_callback(_renewed)

    async def _computed(self, request: ListRequest) -> LocalList:
        try:
            return await self._flight.get(request.key, lambda: self._compute(request))
        except OverloadedError as error:
            return await self._without_history(request, self._clock(), error)

    async def _compute(self, request: ListRequest) -> LocalList:
        """Make the list and keep it; where its history cannot be had, the list of those who have none."""
        made = await self._copies.made_elsewhere(request)
        if made is not None and made.segment is None:
            return self._keep(request, made)
        now = self._clock()
        try:
            with telemetry.stage("history"):
                user = await self._user_reader.user(request.user_id, request.serving, now)
            if not user.history and request.serving.model is not None:
                return await self._share(request, user, now)
            with telemetry.stage("rank"):
                ranked = await self.pool.run(
                    self._rank, request.serving, request.task(self._policy.size, user, request.seed), now
                )
        except DatabaseUnavailableError as error:
            return await self._without_history(request, now, error)
        self._refreshed(request.user_id, request.serving, ranked)
        return await self._store(request, ranked, ranked, now)

    async def _share(self, request: ListRequest, user: UserContext, now: datetime) -> LocalList:
        """The segment's list; the cache notes for this user only which segment it is."""
        segment = segment_of(request.serving, user.profile)
        ranked = await self._segment_list(request, segment, user, now)
        note = RankedList(ranked.as_of, ranked.good_until, ranked.fallback, segment)
        return await self._store(request, note, ranked, now)

    async def _segment_list(self, request: ListRequest, segment: str, user: UserContext, now: datetime) -> RankedList:
        async def compute() -> RankedList:
            return await self.pool.run(self._rank, request.serving, request.task(self._policy.size, user, segment), now)

        return await self._shared.get(request.serving, segment, request.variant, compute)

    async def _without_history(self, request: ListRequest, now: datetime, error: Exception) -> LocalList:
        """A list that is not personal and says why; it is not kept, so that the next request tries again."""
        await self._copies.release_lease(request)
        reason = "overloaded" if isinstance(error, OverloadedError) else "database_unavailable"
        ranked = await self._segment_list(request, EVERYONE, UserContext(), now)
        if request.serving.model is None:
            reason = "no_model"
        return LocalList(ranked.as_fallback(reason), request.generation, 0.0)

    async def _store(self, request: ListRequest, stored: RankedList, ranked: RankedList, now: datetime) -> LocalList:
        """Write to the cache unless the generation has moved on, and keep in memory."""
        await self._copies.write(request, stored, now)
        return self._keep(request, ranked)

    def _keep(self, request: ListRequest, ranked: RankedList) -> LocalList:
        return self._memory.put(request.user_id, request.local_cache_key, request.generation, ranked, request.ticket)

    async def _page(self, request: ListRequest, held: LocalList, *, from_cache: bool) -> Page:
        query, serving = request.query, request.serving
        if not query.explain:
            return self._plain_page(serving, query, held, from_cache=from_cache)
        reasons = await self._page_reasons.for_user(serving, held.ranked, query, query.offset)
        rest = self.next_pages.rest(serving, query, held.ranked)
        return build_page(serving, held.ranked, query.limit, query.offset, reasons, from_cache=from_cache, rest=rest)

    def _plain_page(self, serving: ServingState, query: ListQuery, held: LocalList, *, from_cache: bool) -> Page:
        key = (serving.view.revision, query.offset, query.limit)
        page = held.pages.get(key)
        if page is None:
            rest = self.next_pages.rest(serving, query, held.ranked)
            page = build_page(serving, held.ranked, query.limit, query.offset, from_cache=from_cache, rest=rest)
            # Asked for a second time: it may be asked for a third.
            if from_cache:
                self._memory.put_page(held, key, page)
        return page


def _renewed(computation: asyncio.Task[LocalList]) -> None:
    """Nobody waits for a renewal, so its failure would be seen by nobody; the next reader of the stale list tries."""
    if not computation.cancelled() and computation.exception() is not None:
        telemetry.BACKGROUND_FAILURES.labels("stale_list").inc()
