"""What the lists of each model have done, as this process saw it: made, empty, failed, taken up. Bounded."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from app.application.ranking.list_ranking import ALL_SEEN, RankingTask, rank_list
from app.application.ranking.serving_state import ServingState
from app.domain.guardrail_policy import ListCounts
from app.domain.list_query import Filters
from app.domain.ranked_list import RankedList
from app.domain.rules import DEFAULT_RERANK

TOP_N = 10
"""What people see of a list without looking further."""

MAX_PEOPLE = 20_000
"""Lists remembered until their person does something: about 1 kB each."""

MAX_MODELS = 8
SLICES = 15
"""Parts of the window: it slides in steps of a fifteenth."""

NO_FILTERS = Filters()


@dataclass(slots=True)
class _Window:
    """Tallies of one model, oldest first, each with the moment it began; `last` is what the window held when full."""

    slices: deque[tuple[float, ListCounts]] = field(default_factory=deque)

    def total(self) -> ListCounts:
        total = ListCounts()
        for _began, tally in self.slices:
            total = total.plus(tally)
        return total


@dataclass(frozen=True, slots=True)
class _Shown:
    model_id: str
    item_ids: frozenset[str]
    at: float


class CountingRanker:
    """Makes lists as `rank_list` does, and counts. Called by the threads that compute; cached answers never come here.

    A list is *taken up* if, when the person's next list is made, the history holds one of its first ten with a positive
    weight and a time after it was made: so nobody has to tell this process about events.
    """

    def __init__(self, window_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._slice_seconds = window_seconds / SLICES
        self._monotonic = monotonic
        self._models: OrderedDict[str, _Window] = OrderedDict()
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._lock = Lock()

    def rank(self, serving: ServingState, task: RankingTask, now: datetime) -> RankedList:
        """`rank_list`, counted."""
        if serving.model is None:
            return rank_list(serving, task, now)
        model_id = serving.model.model_id
        self._take_up(task)
        try:
            ranked = rank_list(serving, task, now)
        except Exception:
            # Counted here, answered by the caller.
            self._count(model_id, ListCounts(errors=1))
            raise
        if task.filters == NO_FILTERS and task.shape == DEFAULT_RERANK:
            self._count(model_id, ListCounts(lists=1, empty=int(not len(ranked) and ranked.fallback != ALL_SEEN)))
            self._remember(serving, task, ranked)
        return ranked

    def tally(self, model_id: str) -> ListCounts:
        """What this model's lists have done lately; of a model that serves no more, at its end."""
        with self._lock:
            window = self._models.get(model_id)
            return ListCounts() if window is None else window.total()

    def _take_up(self, task: RankingTask) -> None:
        with self._lock:
            shown = self._shown.get(task.user_id)
            if shown is None:
                return
            later = {item_id for item_id, weight, at in task.history if at > shown.at and weight > 0}
            if not later:
                return
            del self._shown[task.user_id]
        self._count(shown.model_id, ListCounts(answered=1, hits=int(not later.isdisjoint(shown.item_ids))))

    def _remember(self, serving: ServingState, task: RankingTask, ranked: RankedList) -> None:
        if serving.model is None or not task.user_id or not len(ranked):
            return
        ids = serving.view.ids.ids
        first = frozenset(ids[position] for position in ranked.positions[:TOP_N].tolist())
        with self._lock:
            # The first list since the person did something is the one that counts: renewals show the same again.
            known = self._shown.get(task.user_id)
            if known is None or known.model_id != serving.model.model_id:
                self._shown[task.user_id] = _Shown(serving.model.model_id, first, ranked.as_of)
            if len(self._shown) > MAX_PEOPLE:
                self._shown.popitem(last=False)

    def _count(self, model_id: str, more: ListCounts) -> None:
        now = self._monotonic()
        with self._lock:
            window = self._models.setdefault(model_id, _Window())
            self._models.move_to_end(model_id)
            if len(self._models) > MAX_MODELS:
                self._models.popitem(last=False)
            if not window.slices or now - window.slices[-1][0] >= self._slice_seconds:
                window.slices.append((now, ListCounts()))
            began, tally = window.slices[-1]
            window.slices[-1] = (began, tally.plus(more))
            while len(window.slices) > SLICES:
                window.slices.popleft()
