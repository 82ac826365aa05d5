"""`/api/v1/reports`, `/api/v1/credential`: figures worked out by the clock, and what the caller may do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from app.api.dependencies import PrincipalDep, ServicesDep
from app.api.security import require_scopes, with_policy
from app.api.v1.route_docs import CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.operator_schemas import (
    CredentialAnswer,
    ReportAnswer,
    ReportName,
    ReportsAnswer,
    ReportsParams,
)
from app.application.credentials import SCOPES

routes = router("/api/v1", "operations")


@routes.get(
    "/reports/{name}",
    operation_id="listReports",
    response_model=ReportsAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(require_scopes("recs:admin", "recs:train"))
async def list_reports(
    name: Annotated[ReportName, Path(examples=["kpis"])], params: Annotated[ReportsParams, Query()], uses: ServicesDep
) -> ReportsAnswer:
    """The newest reports, newest first: `kpis` of all events, `evaluation` of the model that serves."""
    found = await uses.operations.reports.newest(name, params.limit)
    return ReportsAnswer(reports=[ReportAnswer.of(report) for report in found])


@routes.get(
    "/credential",
    operation_id="getCredential",
    response_model=CredentialAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS),
)
@with_policy(require_scopes(*SCOPES))
async def get_credential(caller: PrincipalDep) -> CredentialAnswer:
    """Who the caller is to this service, and what the credential allows."""
    return CredentialAnswer(subject=caller.subject, is_service=caller.is_service, scopes=sorted(caller.scopes))
