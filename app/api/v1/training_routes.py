"""`/api/v1/recs/train`: ask for a training, watch it, cancel it."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Header, Query, Request, Response

from app.api.dependencies import PrincipalDep, ServicesDep
from app.api.security import Principal, RecordedAct, require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import CursorPage, UuidPath
from app.api.v1.schemas.training_schemas import TrainBody, TrainingAnswer, TrainingsAnswer, TrainingsParams
from app.application.training.model_training import TrainingRequest
from app.domain.audit_scope import describe
from app.domain.entities import TrainingJob
from app.domain.exceptions import NotFoundError
from app.domain.keys import key_text

routes = router("/api/v1/recs/train", "training")
POLICY = require_scopes("recs:train", needs_limiter=True)
POLL_SECONDS = 5

IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[\x21-\x7e]{1,128}$", description="The same key with the same body starts one training only."),
]


@routes.post(
    "",
    operation_id="startTraining",
    status_code=202,
    response_model=TrainingAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 409),
)
@with_policy(POLICY, RecordedAct("training.start"))
async def start_training(
    body: TrainBody,
    uses: ServicesDep,
    caller: PrincipalDep,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> TrainingAnswer:
    """Queue a training. 409 names the one of this type that is queued or running."""
    job = await uses.request_training(
        TrainingRequest(
            body.model_type,
            body.start_date,
            body.end_date,
            idempotency_key=None if idempotency_key is None else scoped(caller, idempotency_key),
            body_sha256=hashlib.sha256(body.model_dump_json().encode()).hexdigest(),
        )
    )
    response.headers["location"] = f"/api/v1/recs/train/{job.training_id}"
    response.headers["retry-after"] = str(POLL_SECONDS)
    return TrainingAnswer.of(job)


def scoped(caller: Principal, key: str) -> str:
    """Somebody else's key is another key; hashed, so that its length is known."""
    return hashlib.sha256(f"{caller.limit_key}\0{key}".encode()).hexdigest()


@routes.get(
    "", operation_id="listTrainings", response_model=TrainingsAnswer, responses=problem_responses(*CLOSED_PROBLEMS)
)
@with_policy(POLICY)
async def list_trainings(
    params: Annotated[TrainingsParams, Query()], uses: ServicesDep, caller: PrincipalDep
) -> TrainingsAnswer:
    """Trainings, newest first."""
    binding = key_text("trainings", caller.limit_key)
    before = None if params.cursor is None else uses.cursors.open(binding, params.cursor)
    jobs = await uses.trainings.list(params.limit + 1, before)
    page, has_more = jobs[: params.limit], len(jobs) > params.limit
    cursor = uses.cursors.seal(binding, page[-1].training_id) if has_more else None
    pagination = CursorPage(limit=params.limit, has_more=has_more, next_cursor=cursor)
    return TrainingsAnswer(trainings=[TrainingAnswer.of(job) for job in page], pagination=pagination)


@routes.get(
    "/{training_id}",
    operation_id="getTraining",
    response_model=TrainingAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(POLICY)
async def get_training(training_id: UuidPath, uses: ServicesDep) -> TrainingAnswer:
    """How far a training is, or how it ended."""
    return TrainingAnswer.of(found(await uses.trainings.get(training_id)))


@routes.delete(
    "/{training_id}",
    operation_id="cancelTraining",
    status_code=202,
    response_model=TrainingAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(POLICY, RecordedAct("training.cancel", "training_id"))
async def cancel_training(training_id: UuidPath, uses: ServicesDep) -> TrainingAnswer:
    """Ask a training to stop: at once if it waits, at its next report if it runs, not at all if it has ended."""
    before = found(await uses.trainings.get(training_id))
    describe(before={"status": before.status.value})
    return TrainingAnswer.of(found(await uses.trainings.cancel(training_id, uses.clock())))


def found(job: TrainingJob | None) -> TrainingJob:
    """The job, or NotFoundError."""
    if job is None:
        raise NotFoundError("training")
    return job
