"""What the request log says of a canary: lists of candidate and champion, and what their users did next."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from app.application.experimentation.experiment_results import BEFORE
from app.application.experimentation.exposures import Exposures
from app.domain.canary import WORSE_IF_HIGHER, Canary, Evidence, alpha_of
from app.domain.experiment_statistics import SRM_ALPHA, compare, sample_ratio_p_value
from app.domain.experiments import CONTROL
from app.domain.request_log import RequestLogStore, user_pseudonym
from app.domain.stores import InteractionStore

CANDIDATE = "candidate"
SETTLING = timedelta(seconds=60)
"""After a step began some replicas still answer by the one before."""

MAX_LISTS = 200_000
"""Lists of one step that are looked at, its first ones: more would not change the answer."""


class EvidenceReader:
    """Reads one step of a canary. The arms are known by the models that the log names."""

    def __init__(
        self, log: RequestLogStore, interactions: InteractionStore, secret: bytes, attribution: timedelta
    ) -> None:
        self._log = log
        self._interactions = interactions
        self._secret = secret
        self._attribution = attribution

    async def of(self, canary: Canary, now: datetime) -> Evidence:
        """All of its present step up to now. Raises UnavailableError."""
        start = canary.step_started_at + SETTLING
        columns = await self._interactions.columns(start - BEFORE, now)

        def begun() -> Exposures:
            users = [user_pseudonym(self._secret, user_id) for user_id in columns.user_ids]
            seconds = self._attribution.total_seconds()
            return Exposures(columns, users, attribution_seconds=seconds, start=start.timestamp())

        exposures, lists = await asyncio.to_thread(begun), 0
        arms = {canary.champion_id: CONTROL, canary.model_id: CANDIDATE}
        async for batch in self._log.read(start, now):
            shown = [
                replace(entry, variant=arms[entry.model_id])
                for entry in batch
                if entry.surface == "recs" and entry.model_id in arms
            ]
            await asyncio.to_thread(exposures.add, shown)
            lists += len(shown)
            if lists >= MAX_LISTS:
                break
        return await asyncio.to_thread(_evidence, canary, exposures)


def _evidence(canary: Canary, exposures: Exposures) -> Evidence:
    exposures.finish()
    champion, candidate = exposures.n_users(CONTROL), exposures.n_users(CANDIDATE)
    chance = sample_ratio_p_value((champion, candidate), (1 - canary.share, canary.share))
    found = {
        metric: compare(
            exposures.user_sums(metric, CONTROL), exposures.user_sums(metric, CANDIDATE), alpha=alpha_of(canary)
        )
        for metric in WORSE_IF_HIGHER
    }
    known = {metric: one for metric, one in found.items() if one is not None}
    return Evidence((champion, candidate), chance < SRM_ALPHA, known)
