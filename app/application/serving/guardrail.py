"""Watches what the served model's lists do, and falls back to the model before when they are worse than they may be."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from app import telemetry
from app.application.serving.counting_ranker import CountingRanker
from app.application.serving.model_server import ModelServer
from app.application.training.model_registry import ModelRegistry
from app.domain.exceptions import ArtifactError, NotFoundError, UnavailableError
from app.domain.guardrail_policy import GuardrailPolicy, ListCounts, breach

log = telemetry.get_logger(__name__)

CHECK_SECONDS = 10.0


class Guardrail:
    """One per process and model type: each replica judges by its own lists, the database lets one of them act."""

    def __init__(
        self,
        server: ModelServer,
        served: CountingRanker,
        registry: ModelRegistry,
        policy: GuardrailPolicy,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._server = server
        self._served = served
        self._registry = registry
        self._policy = policy
        self._check_seconds = check_seconds
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
            return None
        return await self._fall_back(model.model_id, reason, tally, before)

    async def _fall_back(self, model_id: str, reason: str, tally: ListCounts, before: ListCounts | None) -> str | None:
        figures = {"served": asdict(tally), "before": None if before is None else asdict(before)}
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


def _tell(model_type: str, tally: ListCounts) -> None:
    for name, part, whole in (
        ("empty", tally.empty, tally.lists),
        ("errors", tally.errors, tally.lists + tally.errors),
        ("taken_up", tally.hits, tally.answered),
    ):
        if whole:
            telemetry.SERVED_SHARE.labels(model_type, name).set(part / whole)
