"""`/api/v1/recs/models`: the registry. Promote, roll back, look."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from app.api.dependencies import ServicesDep
from app.api.security import RecordedAct, require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import UuidPath
from app.api.v1.schemas.training_schemas import ChampionAnswer, ModelAnswer, ModelsAnswer, ModelsParams, RollbackBody

routes = router("/api/v1/recs/models", "models")
READ = require_scopes("recs:admin", "recs:train")
CHANGE = require_scopes("recs:admin", needs_limiter=True)


@routes.get("", operation_id="listModels", response_model=ModelsAnswer, responses=problem_responses(*CLOSED_PROBLEMS))
@with_policy(READ)
async def list_models(params: Annotated[ModelsParams, Query()], uses: ServicesDep) -> ModelsAnswer:
    """Model versions, newest first."""
    models = await uses.registry.list(params.type, params.limit)
    return ModelsAnswer(models=[ModelAnswer.of(model) for model in models])


@routes.post(
    "/rollback",
    operation_id="rollbackModel",
    response_model=ChampionAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404, 409),
)
@with_policy(CHANGE, RecordedAct("model.rollback"))
async def rollback_model(uses: ServicesDep, body: RollbackBody | None = None) -> ChampionAnswer:
    """Make the version that was champion before the present one champion again; by default of the type that serves."""
    wanted = None if body is None else body.model_type
    champion = await uses.registry.rollback(wanted or uses.model_type)
    uses.model_changed()
    return ChampionAnswer.of(champion)


@routes.get(
    "/{model_id}",
    operation_id="getModel",
    response_model=ModelAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(READ)
async def get_model(model_id: UuidPath, uses: ServicesDep) -> ModelAnswer:
    """One version: what it scored, where it comes from, and what happened to it since."""
    return ModelAnswer.of(await uses.registry.show(model_id), await uses.registry.notes(model_id))


@routes.post(
    "/{model_id}/promote",
    operation_id="promoteModel",
    response_model=ChampionAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404, 409),
)
@with_policy(CHANGE, RecordedAct("model.promote", "model_id"))
async def promote_model(model_id: UuidPath, uses: ServicesDep) -> ChampionAnswer:
    """Make a version the champion, after proving that its artifact loads. Servers follow within seconds."""
    champion = await uses.registry.promote(model_id)
    uses.model_changed()
    return ChampionAnswer.of(champion)
