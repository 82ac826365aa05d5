"""`/api/v1/recs/experiments`: create, look, start, pause, grow, stop, and read which arm is better."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from app.api.dependencies import PrincipalDep, ServicesDep
from app.api.security import RecordedAct, require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import CursorPage, UuidPath
from app.api.v1.schemas.experiment_schemas import (
    ExperimentAnswer,
    ExperimentBody,
    ExperimentChange,
    ExperimentsAnswer,
    ExperimentsParams,
    ResultsAnswer,
)
from app.domain.experiments import ExperimentStatus
from app.domain.keys import key_text

routes = router("/api/v1/recs/experiments", "experiments")
READ = require_scopes("recs:admin")
CHANGE = require_scopes("recs:admin", needs_limiter=True)


@routes.post(
    "",
    operation_id="createExperiment",
    status_code=201,
    response_model=ExperimentAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS),
)
@with_policy(CHANGE, RecordedAct("experiment.create"))
async def create_experiment(body: ExperimentBody, uses: ServicesDep, response: Response) -> ExperimentAnswer:
    """A draft: nobody is in it until it is started."""
    experiment = await uses.experiments.create(body.request)
    response.headers["location"] = f"/api/v1/recs/experiments/{experiment.experiment_id}"
    return ExperimentAnswer.of(experiment)


@routes.get(
    "",
    operation_id="listExperiments",
    response_model=ExperimentsAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS),
)
@with_policy(READ)
async def list_experiments(
    params: Annotated[ExperimentsParams, Query()], uses: ServicesDep, caller: PrincipalDep
) -> ExperimentsAnswer:
    """Experiments, newest first."""
    binding = key_text("experiments", caller.limit_key)
    before = None if params.cursor is None else uses.cursors.open(binding, params.cursor)
    found = await uses.experiments.list(params.limit + 1, before)
    shown = list(found[: params.limit])
    has_more = len(found) > params.limit
    cursor = uses.cursors.seal(binding, shown[-1].experiment_id) if has_more else None
    return ExperimentsAnswer(
        experiments=[ExperimentAnswer.of(one) for one in shown],
        pagination=CursorPage(limit=params.limit, has_more=has_more, next_cursor=cursor),
    )


@routes.get(
    "/{experiment_id}",
    operation_id="getExperiment",
    response_model=ExperimentAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(READ)
async def get_experiment(experiment_id: UuidPath, uses: ServicesDep) -> ExperimentAnswer:
    """One experiment as it stands."""
    return ExperimentAnswer.of(await uses.experiments.show(experiment_id))


@routes.patch(
    "/{experiment_id}",
    operation_id="changeExperiment",
    response_model=ExperimentAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404, 409),
)
@with_policy(CHANGE, RecordedAct("experiment.change", "experiment_id"))
async def change_experiment(experiment_id: UuidPath, body: ExperimentChange, uses: ServicesDep) -> ExperimentAnswer:
    """Start, pause or stop it, or let its share grow. Servers follow within seconds."""
    status = None if body.status is None else ExperimentStatus(body.status)
    changed = await uses.experiments.change(experiment_id, status=status, share=body.share, revision=body.revision)
    uses.experiments_changed()
    return ExperimentAnswer.of(changed)


@routes.get(
    "/{experiment_id}/results",
    operation_id="getExperimentResults",
    response_model=ResultsAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(READ)
async def get_experiment_results(experiment_id: UuidPath, uses: ServicesDep) -> ResultsAnswer:
    """Which arm is better, at any time one looks. Worked out from the request log and what users did since."""
    return ResultsAnswer.of(await uses.results.read(await uses.experiments.show(experiment_id)))
