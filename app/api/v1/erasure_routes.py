"""`/api/v1/erasures`: how far an erasure is, and its certificate."""

from __future__ import annotations

from app.api.dependencies import ServicesDep
from app.api.security import require_scopes, with_policy
from app.api.v1.route_docs import CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import UuidPath
from app.api.v1.schemas.erasure_schemas import ErasureAnswer

routes = router("/api/v1/erasures", "users")


@routes.get(
    "/{erasure_id}",
    operation_id="getErasure",
    response_model=ErasureAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(require_scopes("catalog:write"))
async def get_erasure(erasure_id: UuidPath, uses: ServicesDep) -> ErasureAnswer:
    """How far an erasure is; once it is done, its certificate. Whoever has the id may know: it names nobody."""
    return ErasureAnswer.of(await uses.erasures.get(erasure_id))
