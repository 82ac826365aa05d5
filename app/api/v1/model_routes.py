"""`/api/v1/recs/models`: the registry. Promote, roll back, look."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from app.api.dependencies import PrincipalDep, ServicesDep
from app.api.security import require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import UuidPath
from app.api.v1.schemas.training_schemas import (
    CanaryAnswer,
    CanaryBody,
    ChampionAnswer,
    ModelAnswer,
    ModelsAnswer,
    ModelsParams,
    RollbackBody,
)
from app.domain.canary import STEPS

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
@with_policy(CHANGE)
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
@with_policy(CHANGE)
async def promote_model(model_id: UuidPath, uses: ServicesDep) -> ChampionAnswer:
    """Make a version the champion, after proving that its artifact loads. Servers follow within seconds."""
    champion = await uses.registry.promote(model_id)
    uses.model_changed()
    return ChampionAnswer.of(champion)


@routes.post(
    "/{model_id}/canary",
    operation_id="startCanary",
    status_code=201,
    response_model=CanaryAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404, 409),
)
@with_policy(CHANGE)
async def start_canary(
    model_id: UuidPath, uses: ServicesDep, caller: PrincipalDep, body: CanaryBody | None = None
) -> CanaryAnswer:
    """Let a candidate take a growing share of users; it is promoted or taken back by what its lists do."""
    wanted = body or CanaryBody(steps=list(STEPS))
    canary = await uses.canaries.start(model_id, wanted.steps, wanted.hours, caller.limit_key)
    uses.model_changed()
    return CanaryAnswer.of(canary)


@routes.get(
    "/{model_id}/canary",
    operation_id="getCanary",
    response_model=CanaryAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(READ)
async def get_canary(model_id: UuidPath, uses: ServicesDep) -> CanaryAnswer:
    """How far a candidate is, or how it ended and why."""
    return CanaryAnswer.of(await uses.canaries.show(model_id))


@routes.delete(
    "/{model_id}/canary",
    operation_id="stopCanary",
    response_model=CanaryAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404, 409),
)
@with_policy(CHANGE)
async def stop_canary(model_id: UuidPath, uses: ServicesDep, caller: PrincipalDep) -> CanaryAnswer:
    """Give the candidate's users back to the champion."""
    canary = await uses.canaries.stop(model_id, caller.limit_key)
    uses.model_changed()
    return CanaryAnswer.of(canary)
