"""The registry as people use it: list, show, promote, roll back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from app.application.artifacts.model_artifacts import load_model
from app.application.audit_trail import AuditTrail
from app.domain.audit_scope import describe
from app.domain.entities import Champion, ModelStatus, ModelVersion
from app.domain.exceptions import ConflictError, NotFoundError, StaleTokenError
from app.domain.interfaces import ArtifactStore
from app.domain.recommender import Recommenders
from app.domain.reports import Report
from app.domain.stores import Database

FELL, RESTORED, SHADOW = "fallback:", "restored:", "shadow:"
"""Names of reports about one model, before its id."""


class ModelRegistry:
    """Model versions and their champions. An operator's promotion counts above any training that runs meanwhile."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        recommenders: Recommenders,
        clock: Callable[[], datetime],
    ) -> None:
        self._models = database.models
        self._reports = database.reports
        self._artifacts = artifacts
        self._recommenders = recommenders
        self._clock = clock
        self._guard = AuditTrail(database.audit, clock, "guardrail")

    async def list(self, model_type: str | None = None, limit: int = 50) -> Sequence[ModelVersion]:
        """Newest first."""
        return await self._models.list(model_type, limit)

    async def show(self, model_id: str) -> ModelVersion:
        """One version. Raises NotFoundError."""
        model = await self._models.get(model_id)
        if model is None:
            raise NotFoundError("model")
        return model

    async def servable(self, model_id: str) -> ModelVersion:
        """One version that could serve: its artifact loads.

        Raises NotFoundError; ConflictError for a rejected or artifact-less version; ArtifactError if the artifact is
        missing or damaged.
        """
        model = await self._with_artifact(model_id)
        await load_model(self._artifacts, model, self._recommenders)
        return model

    async def weigh(self, model_id: str) -> int:
        """Bytes of the artifact of a version that could serve. Raises what `servable` does."""
        loaded = await load_model(self._artifacts, await self._with_artifact(model_id), self._recommenders)
        return sum(part.size for part in loaded.manifest.parts.values())

    async def champion(self, model_type: str) -> Champion | None:
        """The champion, or None before the first promotion."""
        return await self._models.champion(model_type)

    async def promote(self, model_id: str, instead_of: str | None = None) -> Champion:
        """Make a version the champion, after proving that its artifact loads; the champion again is no change.

        `instead_of`: the champion it must replace; None: whichever there is. Raises what `servable` does;
        StaleTokenError if the champion changes meanwhile, or is another than `instead_of`.
        """
        model = await self._with_artifact(model_id)
        champion = await self._models.champion(model.model_type)
        if champion is not None and champion.model.model_id == model_id:
            return champion
        await load_model(self._artifacts, model, self._recommenders)
        expected = instead_of or (None if champion is None else champion.model.model_id)
        describe(target=model_id, before={"champion": expected}, after={"champion": model_id})
        return await self._models.promote(model_id, token=None, expected=expected, at=self._clock())

    async def _with_artifact(self, model_id: str) -> ModelVersion:
        model = await self.show(model_id)
        if model.status is ModelStatus.REJECTED:
            raise ConflictError("a rejected model cannot be promoted")
        if model.artifact_key is None:
            raise ConflictError("the artifact of this version is no longer kept")
        return model

    async def rollback(self, model_type: str) -> Champion:
        """Promote the version that was champion before the present one.

        Raises NotFoundError where there is none, and otherwise as `promote`.
        """
        previous = await self._before(model_type)
        return await self.promote(previous.model_id)

    async def fall_back(self, broken: ModelVersion, reason: str, figures: Mapping[str, object]) -> Champion | None:
        """Roll back from this champion, and store why; None if there is nothing to do or no right to do it.

        Once and never to and fro: a champion that came into office by a fall-back stays until somebody promotes
        another one; and of several replicas one wins, as the promotion is a compare-and-swap from `broken`. Raises
        NotFoundError where no earlier champion is left, ArtifactError where its artifact is damaged.
        """
        champion = await self._models.champion(broken.model_type)
        if champion is None or champion.model.model_id != broken.model_id:
            return None
        restored = await self._reports.latest(RESTORED + broken.model_id)
        if restored is not None and broken.promoted_at is not None and restored.slot >= broken.promoted_at:
            return None
        previous = await self._before(broken.model_type)
        await load_model(self._artifacts, previous, self._recommenders)
        now = self._clock()
        told = {"reason": reason, "from": broken.model_id, "to": previous.model_id, **figures}
        try:
            async with self._guard.change("model.fall_back", previous.model_id):
                describe(before={"champion": broken.model_id}, after={"champion": previous.model_id, "reason": reason})
                fallen = await self._models.promote(previous.model_id, token=None, expected=broken.model_id, at=now)
        except StaleTokenError:
            return None
        await self._note(FELL + broken.model_id, broken.model_id, now, told)
        await self._note(RESTORED + previous.model_id, previous.model_id, now, told)
        return fallen

    async def notes(self, model_id: str) -> Mapping[str, object]:
        """What happened to a version since its training: `fallback`, `restored`, `shadow`; those there are."""
        names = {"fallback": FELL, "restored": RESTORED, "shadow": SHADOW}
        found = {name: await self._reports.latest(prefix + model_id) for name, prefix in names.items()}
        return {name: {"at": one.slot.isoformat(), **one.figures} for name, one in found.items() if one is not None}

    async def note_shadow(self, model_id: str, at: datetime, figures: Mapping[str, object]) -> None:
        """Store what was seen of a candidate beside the champion; the newest is what `notes` shows."""
        await self._note(SHADOW + model_id, model_id, at, figures)
        await self._reports.prune(SHADOW + model_id, at)

    async def _note(self, name: str, model_id: str, at: datetime, figures: Mapping[str, object]) -> None:
        if await self._reports.claim(name, at, at):
            await self._reports.finish(Report(name, at, at, at, model_id, figures))

    async def _before(self, model_type: str) -> ModelVersion:
        previous = await self._models.previous(model_type)
        if previous is None:
            raise NotFoundError("earlier champion")
        return previous
