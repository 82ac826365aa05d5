"""What a model would have done in place of what was shown, judged by what people did: before anybody sees it.

The exploration draws one place of a list and logs the chance of what came there. Given the rest of the page as it was
shown, the candidate is asked what it would have put in that place, from what was known of the user then; `off_policy`
turns the matches into its value. What is not drawn (chance 1) says nothing of another model, and is not used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from app.application.experimentation.exposures import AttributedEvents
from app.application.ranking.list_ranking import RankingTask, rank_list, ranking_time
from app.application.ranking.serving_state import ServingState
from app.domain.entities import EventColumns
from app.domain.exploration import Exploration
from app.domain.list_query import Filters
from app.domain.off_policy import LoggedPlaces, PlaceValue, place_value
from app.domain.request_log import RequestEntry, RequestLogStore, ShownItem, user_pseudonym
from app.domain.signals import SignalPolicy, history_before
from app.domain.stores import InteractionStore

MAX_LISTS = 20_000
"""The newest lists that are judged: each costs the candidate a list of its own."""

SHORTEST_DAYS = 1 / 24
"""Of less than an hour of lists nobody knows how many a day there are: they count as an hour's."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """`lists`: all in the log in this time; `value`: over those of them with a drawn place, the newest first."""

    since: datetime
    until: datetime
    lists: int
    judged: int
    value: PlaceValue


@dataclass(frozen=True, slots=True)
class _Place:
    """One drawn place, as logged."""

    number: int
    user: bytes
    at: float
    shown: ShownItem
    others: frozenset[str]


class ReplayEvaluator:
    """Judges a model by the request log."""

    def __init__(
        self,
        log: RequestLogStore,
        interactions: InteractionStore,
        secret: bytes,
        attribution: timedelta,
        signals: SignalPolicy,
    ) -> None:
        self._log = log
        self._interactions = interactions
        self._secret = secret
        self._attribution = attribution
        self._signals = signals

    async def evaluate(
        self, serving: ServingState, since: datetime, until: datetime, *, max_lists: int = MAX_LISTS, seed: int = 0
    ) -> ReplayResult:
        """The value of the model of `serving`. Raises NotEnoughDataError (see `place_value`), UnavailableError."""
        columns = await self._interactions.columns(None, until)
        users = [user_pseudonym(self._secret, user_id) for user_id in columns.user_ids]
        events = AttributedEvents(columns, users, self._attribution.total_seconds(), since.timestamp())
        places, lists, first = deque[_Place](maxlen=max_lists), 0, until

        def take(batch: list[RequestEntry]) -> None:
            for number, entry in enumerate(batch, start=lists):
                events.show(entry, number)
                place = _place(entry, number)
                if place is not None:
                    places.append(place)

        async for batch in self._log.read(since, until):
            counted = [entry for entry in batch if entry.surface == "recs" and not entry.is_preview]
            await asyncio.to_thread(take, counted)
            lists += len(counted)
            first = min((first, *(entry.at for entry in counted)))
        days = max((until - first) / timedelta(days=1), SHORTEST_DAYS)
        pool = serving.ranking_policy.exploration.pool

        def judged() -> PlaceValue:
            asked = _Asked(serving, columns, {user: row for row, user in enumerate(users)}, self._signals)
            found, n_items = _logged_places(places, events, columns, asked.wanted)
            return place_value(found, n_items, lists_per_day=lists / days, pool=pool, seed=seed)

        return ReplayResult(since, until, lists, len(places), await asyncio.to_thread(judged))


def _place(entry: RequestEntry, number: int) -> _Place | None:
    """The drawn place of a list; None where nothing was drawn, and for lists that no model ranked."""
    drawn = next((item for item in entry.items if item.propensity < 1.0), None)
    if drawn is None or entry.user is None or entry.model_id is None:
        return None
    others = frozenset(item.item_id for item in entry.items if item is not drawn)
    return _Place(number, entry.user, entry.at.timestamp(), drawn, others)


class _Asked:
    """The candidate, asked for one place."""

    def __init__(
        self, serving: ServingState, columns: EventColumns, rows: dict[bytes, int], signals: SignalPolicy
    ) -> None:
        policy = replace(serving.ranking_policy, exploration=Exploration(share=0.0))
        self._serving = replace(serving, ranking_policy=policy)
        self._columns = columns
        self._rows = rows
        self._signals = signals

    def wanted(self, place: _Place) -> str | None:
        """The candidate's best item that is not elsewhere on the page; None if it has none."""
        row, now = self._rows.get(place.user), datetime.fromtimestamp(place.at, UTC)
        history = () if row is None else history_before(self._columns, row, now, self._signals, ranking_time(now))
        task = RankingTask("hybrid", Filters(), history, len(place.others) + 1)
        ranked = rank_list(self._serving, task, now)
        ids = self._serving.view.ids.ids
        return next((ids[at] for at in ranked.positions.tolist() if ids[at] not in place.others), None)


def _logged_places(
    places: deque[_Place], events: AttributedEvents, columns: EventColumns, wanted: Callable[[_Place], str | None]
) -> tuple[LoggedPlaces, int]:
    """(the places as arrays, how many different items there are); where the candidate has nothing, it wants 0."""
    numbers: dict[str | None, int] = {None: 0}
    user_numbers: dict[bytes, int] = {}
    earned = _earned(events, columns)
    shown = [numbers.setdefault(place.shown.item_id, len(numbers)) for place in places]
    best = [numbers.setdefault(wanted(place), len(numbers)) for place in places]
    rewards = [float((place.number, place.shown.item_id) in earned) for place in places]
    found = LoggedPlaces(
        user=_ints([user_numbers.setdefault(place.user, len(user_numbers)) for place in places]),
        shown=_ints(shown),
        wanted=_ints(best),
        propensity=np.array([place.shown.propensity for place in places], dtype=np.float64),
        reward=np.array(rewards, dtype=np.float64),
        is_explored=np.array([place.shown.source == "explored" for place in places], dtype=np.bool_),
    )
    return found, len(numbers)


def _earned(events: AttributedEvents, columns: EventColumns) -> set[tuple[int, str]]:
    """(list, item) with an interaction that says the item was wanted."""
    rows = np.flatnonzero(events.is_positive & (events.list_number >= 0)).tolist()
    return {(int(events.list_number[row]), columns.item_ids[events.item[row]]) for row in rows}


def _ints(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
