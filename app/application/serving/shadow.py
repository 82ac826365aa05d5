"""A candidate beside the champion: some live lists are made by both, in the background, and compared, unseen."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import numpy as np

from app import telemetry
from app.application.ranking.list_ranking import Ranker, RankingTask, rank_list
from app.application.ranking.serving_state import ServingState
from app.application.serving.model_server import ModelServer
from app.domain.exceptions import UnavailableError
from app.domain.ranked_list import RankedList

log = telemetry.get_logger(__name__)

Note = Callable[[str, datetime, Mapping[str, object]], Awaitable[None]]

TOP_N = 10
MAX_WAITING = 100
MAX_REMEMBERED = 10_000
"""Comparisons kept for the figures: 32 bytes each."""

PAUSE_SECONDS = 0.2
NOTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """One list of the champion: what it was made from, its first ten, and how long it took."""

    task: RankingTask
    now: datetime
    shown: frozenset[str]
    seconds: float


class Shadow:
    """Compares a share of the lists that are computed. What comes too fast is dropped and counted, never waited for."""

    def __init__(self, candidate: ModelServer, share: float, inner: Ranker, note: Note) -> None:
        """`candidate` serves the model in question; `inner` makes the lists that people see; `note` stores figures."""
        self._candidate = candidate
        self._share = share
        self._inner = inner
        self._note = note
        self._asked: deque[_Asked] = deque()
        self._compared: deque[tuple[float, float, float]] = deque(maxlen=MAX_REMEMBERED)
        self._noted = 0
        self._lists = 0

    def rank(self, serving: ServingState, task: RankingTask, now: datetime) -> RankedList:
        """What people see; called by the threads that compute."""
        began = time.thread_time()
        ranked = self._inner(serving, task, now)
        if self._is_drawn(task) and self._candidate.current.model is not None:
            if len(self._asked) >= MAX_WAITING:
                telemetry.SHADOW_DROPPED.inc()
            else:
                shown = _first(serving, ranked)
                self._asked.append(_Asked(task, now, shown, time.thread_time() - began))
        return ranked

    async def follow(self) -> None:
        """Compare what was drawn, one list at a time, and store the figures now and then, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._candidate.follow())
            group.create_task(self._compare_for_ever())

    async def _compare_for_ever(self) -> None:
        due = time.monotonic() + NOTE_SECONDS
        while True:
            await self.compare()
            if time.monotonic() >= due:
                due = time.monotonic() + NOTE_SECONDS
                try:
                    await self.store()
                except UnavailableError:
                    telemetry.BACKGROUND_FAILURES.labels("shadow").inc()
            await asyncio.sleep(PAUSE_SECONDS)

    async def compare(self) -> None:
        """Make what waits with the candidate, in a thread of its own, and compare."""
        while self._asked:
            asked, serving = self._asked.popleft(), self._candidate.current
            if serving.model is not None:
                try:
                    overlap, seconds = await asyncio.to_thread(_compared, serving, asked)
                except Exception as error:  # noqa: BLE001 - a candidate that cannot make lists is what we want to know
                    telemetry.SHADOW_FAILURES.inc()
                    log.warning("shadow_failed", model_id=serving.model.model_id, error=type(error).__name__)
                    continue
                telemetry.SHADOW_OVERLAP.observe(overlap)
                telemetry.SHADOW_SECONDS.observe(seconds)
                self._lists += 1
                self._compared.append((overlap, seconds, asked.seconds))

    async def store(self) -> None:
        """Store the figures with the candidate, if there are new ones. Raises UnavailableError."""
        model = self._candidate.current.model
        if model is None or self._noted == self._lists:
            return
        await self._note(model.model_id, self._candidate.now(), self.figures())
        self._noted = self._lists

    def figures(self) -> dict[str, object]:
        """What has been seen so far: processor time in milliseconds, of both."""
        overlap, candidate, champion = np.array(self._compared).T
        return {
            "lists": self._lists,
            "overlap@10": round(float(overlap.mean()), 4),
            "candidate_ms_p50": _milliseconds(candidate, 50),
            "candidate_ms_p95": _milliseconds(candidate, 95),
            "champion_ms_p50": _milliseconds(champion, 50),
            "champion_ms_p95": _milliseconds(champion, 95),
        }

    def _is_drawn(self, task: RankingTask) -> bool:
        """By the list's own seed: no luck involved, the same lists in every replica."""
        digest = blake2b(task.seed.encode(), digest_size=8, person=b"encore-shadow").digest()
        return int.from_bytes(digest, "big") / 2**64 < self._share


def _compared(serving: ServingState, asked: _Asked) -> tuple[float, float]:
    """(share of the champion's first ten that are the candidate's too, seconds it took)."""
    began = time.thread_time()
    ranked = rank_list(serving, asked.task, asked.now)
    seconds = time.thread_time() - began
    mine = _first(serving, ranked)
    return len(mine & asked.shown) / max(len(asked.shown), len(mine), 1), seconds


def _first(serving: ServingState, ranked: RankedList) -> frozenset[str]:
    ids = serving.view.ids.ids
    return frozenset(ids[position] for position in ranked.positions[:TOP_N].tolist())


def _milliseconds(seconds: object, percent: int) -> float:
    return round(float(np.percentile(np.asarray(seconds), percent)) * 1_000, 3)
