"""Watches what the served model's lists do, and falls back to the model before when they are worse than they may be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from app import telemetry
from app.application.serving.canaries import Canaries
from app.application.serving.counting_ranker import CountingRanker
from app.application.serving.model_server import ModelServer
from app.application.serving.pinned_models import PinnedModels
from app.application.training.model_registry import ModelRegistry
from app.domain.exceptions import ArtifactError, NotFoundError, UnavailableError
from app.domain.guardrail_policy import GuardrailPolicy, ListCounts, breach

log = telemetry.get_logger(__name__)

CHECK_SECONDS = 10.0


class Guardrail:
    """One per process and model type: each replica judges by its own lists, the database lets one of them act.

    Two models are on trial: the champion, beside the one before it, and a canary's candidate, beside the champion.
    """

    def __init__(
        self,
        server: ModelServer,
        served: CountingRanker,
        registry: ModelRegistry,
        policy: GuardrailPolicy,
        check_seconds: float = CHECK_SECONDS,
        canaries: tuple[PinnedModels, Canaries] | None = None,
    ) -> None:
        """`canaries`: those that are running, as this process serves them, and what takes them back."""
        self._server = server
        self._served = served
        self._registry = registry
        self._policy = policy
        self._check_seconds = check_seconds
        self._canaries = canaries
        self._present: str | None = None
        self._before: str | None = None
        self._done: str | None = None

    async def follow(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(self._check_seconds)
            try:
                await self.check()
            except UnavailableError:
                telemetry.BACKGROUND_FAILURES.labels("guardrail").inc()

    async def check(self) -> str | None:
        """Judge the served model; the reason, if it fell. Raises UnavailableError: the next check tries again."""
        model = self._server.current.model
        if model is None:
            return None
        if model.model_id != self._present:
            self._present, self._before = model.model_id, self._present
        tally = self._served.tally(model.model_id)
        _tell(model.model_type, tally)
        before = None if self._before is None else self._served.tally(self._before)
        reason = breach(tally, before, self._policy)
        if reason is None or self._done == model.model_id:
            return await self._check_candidate(model.model_id, tally)
        return await self._fall_back(model.model_id, reason, _figures(tally, before))

    async def _check_candidate(self, champion_id: str, champion: ListCounts) -> str | None:
        if self._canaries is None:
            return None
        pinned, canaries = self._canaries
        canary = pinned.canaries.get(champion_id)
        if canary is None:
            return None
        tally = self._served.tally(canary.model_id)
        reason = breach(tally, champion, self._policy)
        if reason is None or not await canaries.roll_back(canary.model_id, reason, _figures(tally, champion)):
            return None
        telemetry.GUARDRAIL_BREACHES.labels(canary.model_type, "canary_rolled_back").inc()
        log.error("guardrail_broken", model_id=canary.model_id, reason=reason, outcome="canary_rolled_back")
        pinned.wake()
        return reason

    async def _fall_back(self, model_id: str, reason: str, figures: Mapping[str, object]) -> str | None:
        model = await self._registry.show(model_id)
        try:
            fallen = await self._registry.fall_back(model, reason, figures)
        except (NotFoundError, ArtifactError) as error:
            fallen = None
            log.warning("guardrail_cannot_fall_back", model_id=model_id, problem=str(error))
        # Whatever came of it, this process does not try again with this model: an operator has been told.
        self._done = model_id
        outcome = "kept" if fallen is None else "rolled_back"
        telemetry.GUARDRAIL_BREACHES.labels(model.model_type, outcome).inc()
        log.error("guardrail_broken", model_id=model_id, reason=reason, outcome=outcome)
        if fallen is None:
            return None
        self._server.wake()
        return reason


def _figures(tally: ListCounts, before: ListCounts | None) -> Mapping[str, object]:
    return {"served": asdict(tally), "before": None if before is None else asdict(before)}


def _tell(model_type: str, tally: ListCounts) -> None:
    for name, part, whole in (
        ("empty", tally.empty, tally.lists),
        ("errors", tally.errors, tally.lists + tally.errors),
        ("taken_up", tally.hits, tally.answered),
    ):
        if whole:
            telemetry.SERVED_SHARE.labels(model_type, name).set(part / whole)
