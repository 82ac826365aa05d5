"""Canaries: a candidate takes a growing share of users, and is promoted or taken back by what its lists do.

Every step is a compare-and-swap on the model's row, with its event in the same transaction, and stands in the audit
log. Whoever dies in between leaves a state that the next tick goes on from: either the champion answers everybody but
the share, or the candidate is the champion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from app import telemetry
from app.application.audit_trail import AuditTrail
from app.application.experimentation.model_evidence import EvidenceReader
from app.application.outgoing.outgoing_events import ModelCanaryMoved, to_message
from app.application.training.model_registry import ModelRegistry
from app.domain.canary import (
    MAX_HOURS,
    Canary,
    CanaryStatus,
    Evidence,
    Move,
    advanced,
    checked_steps,
    decide,
    ended,
)
from app.domain.entities import OutboxMessage
from app.domain.exceptions import ArtifactError, ConflictError, InputError, NotFoundError
from app.domain.stores import Database

log = telemetry.get_logger(__name__)

LOOKS_PER_STEP = 50
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=15)
"""Between two looks at the request log: each reads the whole step."""


class Canaries:
    """The use cases. All of them raise UnavailableError while the database is away."""

    def __init__(
        self,
        database: Database,
        registry: ModelRegistry,
        evidence: EvidenceReader,
        clock: Callable[[], datetime],
        actor: str,
    ) -> None:
        """`actor`: who acts, for the audit log, where a call names nobody."""
        self._store = database.canaries
        self._audit = database.audit
        self._registry = registry
        self._evidence = evidence
        self._clock = clock
        self._actor = actor

    async def start(self, model_id: str, steps: Sequence[float], hours: float, actor: str | None = None) -> Canary:
        """Let a candidate take its first share, after proving that its artifact loads.

        Raises InputError that names the field; NotFoundError; ArtifactError; ConflictError for a model that cannot
        serve, where there is no champion to compare with, and while another canary of the type is running.
        """
        shares = checked_steps(steps)
        if not 0 < hours <= MAX_HOURS:
            raise InputError(f"must be above 0 and at most {MAX_HOURS:g}", "/hours")
        model = await self._registry.servable(model_id)
        champion = await self._registry.champion(model.model_type)
        if champion is None:
            raise ConflictError("there is no champion to compare with: promote this model")
        if champion.model.model_id == model_id:
            raise ConflictError("this model is the champion")
        now = self._clock()
        canary = Canary(model_id, model.model_type, champion.model.model_id, shares, hours, now, now)
        async with self._trail(actor).act("canary.start", model_id) as act:
            started = await self._store.start(canary, [self._message(canary, now)])
            act.after = facts_of(started)
        self._tell(started, "started")
        return started

    async def show(self, model_id: str) -> Canary:
        """The newest canary of a model. Raises NotFoundError."""
        canary = await self._store.get(model_id)
        if canary is None:
            raise NotFoundError("canary")
        return canary

    async def stop(self, model_id: str, actor: str | None = None) -> Canary:
        """Give its users back to the champion. Raises NotFoundError; ConflictError for one that has ended."""
        canary = await self.show(model_id)
        if canary.status is not CanaryStatus.RUNNING:
            raise ConflictError("this canary has ended")
        stopped = ended(canary, CanaryStatus.STOPPED, "stopped by hand", canary.figures)
        return await self._store_move(canary, stopped, actor)

    async def roll_back(self, model_id: str, reason: str, figures: Mapping[str, object]) -> bool:
        """Take a candidate back because a replica has seen what it may not do; False if it is over already."""
        canary = await self._store.get(model_id)
        if canary is None or canary.status is not CanaryStatus.RUNNING:
            return False
        try:
            await self._store_move(canary, ended(canary, CanaryStatus.ROLLED_BACK, reason, figures))
        except ConflictError:
            return False
        return True

    async def tick(self, looked: MutableMapping[str, datetime]) -> None:
        """Go on with every canary whose time has come. `looked`: what this process remembers of its looks."""
        for canary in await self._store.running():
            now, name = self._clock(), f"canary {canary.model_id} {canary.revision}"
            length = timedelta(hours=canary.hours)
            pause = min(max(length / LOOKS_PER_STEP, SHORTEST), LONGEST)
            if name in looked and now - looked[name] < pause:
                continue
            looked[name] = now
            try:
                await self.judge(canary, now)
            except ConflictError as error:
                log.info("canary_moved_elsewhere", model_id=canary.model_id, problem=str(error))

    async def judge(self, canary: Canary, now: datetime) -> Canary:
        """Look at one canary and do what is to be done; returns it as it stands then.

        Raises ConflictError if somebody else has moved it.
        """
        champion = await self._registry.champion(canary.model_type)
        if champion is not None and champion.model.model_id == canary.model_id:
            # Promoted by hand, or by a process that died before it could say so.
            return await self._store_move(
                canary, ended(canary, CanaryStatus.PROMOTED, "it is the champion", canary.figures)
            )
        if champion is None or champion.model.model_id != canary.champion_id:
            reason = "another model has become champion"
            return await self._store_move(canary, ended(canary, CanaryStatus.STOPPED, reason, canary.figures))
        evidence = await self._evidence.of(canary, now)
        decision, figures = decide(canary, evidence, now), figures_of(evidence)
        if decision.move is Move.ROLL_BACK:
            return await self._store_move(canary, ended(canary, CanaryStatus.ROLLED_BACK, decision.reason, figures))
        if decision.move is Move.ADVANCE:
            return await self._store_move(canary, advanced(canary, now, figures))
        if decision.move is Move.PROMOTE:
            return await self._promote(canary, decision.reason, figures)
        return canary

    async def _promote(self, canary: Canary, reason: str, figures: Mapping[str, object]) -> Canary:
        try:
            await self._registry.promote(canary.model_id, instead_of=canary.champion_id)
        except ArtifactError:
            # It served until now from memory, and could not be loaded again.
            broken = ended(canary, CanaryStatus.ROLLED_BACK, "its artifact is missing or damaged", figures)
            return await self._store_move(canary, broken)
        return await self._store_move(canary, ended(canary, CanaryStatus.PROMOTED, reason, figures))

    async def _store_move(self, before: Canary, after: Canary, actor: str | None = None) -> Canary:
        outcome = "advanced" if after.status is CanaryStatus.RUNNING else after.status.value
        async with self._trail(actor).act(f"canary.{outcome}", before.model_id, facts_of(before)) as act:
            await self._store.replace(after, [self._message(after, self._clock())])
            act.after = facts_of(after)
        self._tell(after, outcome)
        return after

    def _trail(self, actor: str | None) -> AuditTrail:
        return AuditTrail(self._audit, self._clock, actor or self._actor)

    def _message(self, canary: Canary, now: datetime) -> OutboxMessage:
        event = ModelCanaryMoved(
            model_id=canary.model_id,
            model_type=canary.model_type,
            champion_id=canary.champion_id,
            status=canary.status.value,
            share=1.0 if canary.status is CanaryStatus.PROMOTED else canary.share,
            timestamp=now,
            reason=canary.reason,
        )
        return to_message(event, now)

    def _tell(self, canary: Canary, outcome: str) -> None:
        telemetry.CANARY_STEPS.labels(canary.model_type, outcome).inc()
        log.info("canary_moved", outcome=outcome, model_id=canary.model_id, share=canary.share, reason=canary.reason)


def facts_of(canary: Canary) -> Mapping[str, object]:
    """What the audit log keeps of a canary."""
    names = ("status", "step", "steps", "champion_id", "reason", "revision")
    return {name: getattr(canary, name) for name in names}


def figures_of(evidence: Evidence) -> Mapping[str, object]:
    """What is stored with a step: users on either side, and each metric with its always-valid interval."""
    champion, candidate = evidence.users
    metrics = {
        metric.value: {
            "champion": found.control,
            "candidate": found.treatment,
            "difference": found.difference,
            "always_valid": asdict(found.always),
        }
        for metric, found in evidence.comparisons.items()
    }
    return {"users": {"champion": champion, "candidate": candidate}, **metrics}
