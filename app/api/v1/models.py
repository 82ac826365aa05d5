"""`/api/v1/recs/models`: the registry. Promote, roll back, look."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from app.api.dependencies import Uses
from app.api.security import allow, guarded
from app.api.v1.documented import CLOSED, WITH_BODY, problems, router
from app.api.v1.schemas.common import UuidPath
from app.api.v1.schemas.training import ChampionAnswer, ModelAnswer, ModelsAnswer, ModelsParams, RollbackBody

routes = router("/api/v1/recs/models", "models")
READ = allow("recs:admin", "recs:train")
CHANGE = allow("recs:admin", needs_limiter=True)


@routes.get("", operation_id="listModels", response_model=ModelsAnswer, responses=problems(*CLOSED))
@guarded(READ)
async def list_models(params: Annotated[ModelsParams, Query()], uses: Uses) -> ModelsAnswer:
    """Model versions, newest first."""
    models = await uses.registry.list(params.type, params.limit)
    return ModelsAnswer(models=[ModelAnswer.of(model) for model in models])


@routes.post(
    "/rollback",
    operation_id="rollbackModel",
    response_model=ChampionAnswer,
    responses=problems(*CLOSED, *WITH_BODY, 404, 409),
)
@guarded(CHANGE)
async def rollback_model(uses: Uses, body: RollbackBody | None = None) -> ChampionAnswer:
    """Make the version that was champion before the present one champion again."""
    champion = await uses.registry.rollback((body or RollbackBody()).model_type)
    uses.model_changed()
    return ChampionAnswer.of(champion)


@routes.get("/{model_id}", operation_id="getModel", response_model=ModelAnswer, responses=problems(*CLOSED, 404))
@guarded(READ)
async def get_model(model_id: UuidPath, uses: Uses) -> ModelAnswer:
    """One version: what it scored, where it comes from, and what happened to it since."""
    return ModelAnswer.of(await uses.registry.show(model_id), await uses.registry.notes(model_id))


@routes.post(
    "/{model_id}/promote",
    operation_id="promoteModel",
    response_model=ChampionAnswer,
    responses=problems(*CLOSED, 404, 409),
)
@guarded(CHANGE)
async def promote_model(model_id: UuidPath, uses: Uses) -> ChampionAnswer:
    """Make a version the champion, after proving that its artifact loads. Servers follow within seconds."""
    champion = await uses.registry.promote(model_id)
    uses.model_changed()
    return ChampionAnswer.of(champion)
