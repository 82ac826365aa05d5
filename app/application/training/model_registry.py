"""The registry as people use it: list, show, promote, roll back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from app.application.artifacts.artifacts import load_model
from app.domain.exceptions import ConflictError, NotFoundError
from app.domain.interfaces import ArtifactStore
from app.domain.models import Champion, ModelStatus, ModelVersion
from app.domain.recommender import Recommenders
from app.domain.stores import Database


class Registry:
    """Model versions and their champions. An operator's promotion counts above any training that runs meanwhile."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        recommenders: Recommenders,
        clock: Callable[[], datetime],
    ) -> None:
        self._models = database.models
        self._artifacts = artifacts
        self._recommenders = recommenders
        self._clock = clock

    async def list(self, model_type: str | None = None, limit: int = 50) -> Sequence[ModelVersion]:
        """Newest first."""
        return await self._models.list(model_type, limit)

    async def show(self, model_id: str) -> ModelVersion:
        """One version. Raises NotFoundError."""
        model = await self._models.get(model_id)
        if model is None:
            raise NotFoundError("model")
        return model

    async def promote(self, model_id: str) -> Champion:
        """Make a version the champion, after proving that its artifact loads; the champion again is no change.

        Raises NotFoundError; ConflictError for a rejected or artifact-less version, or if the champion changes
        meanwhile (StaleTokenError); ArtifactError if the artifact is missing or damaged.
        """
        model = await self.show(model_id)
        if model.status is ModelStatus.REJECTED:
            raise ConflictError("a rejected model cannot be promoted")
        if model.artifact_key is None:
            raise ConflictError("the artifact of this version is no longer kept")
        champion = await self._models.champion(model.model_type)
        if champion is not None and champion.model.model_id == model_id:
            return champion
        await load_model(self._artifacts, model, self._recommenders)
        expected = None if champion is None else champion.model.model_id
        return await self._models.promote(model_id, token=None, expected=expected, at=self._clock())

    async def rollback(self, model_type: str) -> Champion:
        """Promote the version that was champion before the present one.

        Raises NotFoundError where there is none, and otherwise as `promote`.
        """
        previous = await self._models.previous(model_type)
        if previous is None:
            raise NotFoundError("earlier champion")
        return await self.promote(previous.model_id)
