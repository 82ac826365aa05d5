"""`/api/v1/dead-letters`: what could not be taken in, and taking it in after all."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from app.api.dependencies import PrincipalDep, ServicesDep
from app.api.security import require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.operator_schemas import (
    DeadLetterAnswer,
    DeadLettersAnswer,
    DeadLettersParams,
    ReplayAnswer,
    ReplayBody,
)
from app.application.audit_trail import AuditTrail

routes = router("/api/v1/dead-letters", "operations")


@routes.get(
    "",
    operation_id="listDeadLetters",
    response_model=DeadLettersAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS),
)
@with_policy(require_scopes("recs:admin"))
async def list_dead_letters(params: Annotated[DeadLettersParams, Query()], uses: ServicesDep) -> DeadLettersAnswer:
    """Events that could not be taken in, in the order they came, with what is kept of them."""
    store = uses.operations.dead_letters
    found = await store.list(params.limit, params.after, params.reason)
    return DeadLettersAnswer(waiting=await store.count(), dead_letters=[DeadLetterAnswer.of(one) for one in found])


@routes.post(
    "/replay",
    operation_id="replayDeadLetters",
    response_model=ReplayAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404),
)
@with_policy(require_scopes("recs:admin", needs_limiter=True))
async def replay_dead_letters(body: ReplayBody, uses: ServicesDep, caller: PrincipalDep) -> ReplayAnswer:
    """Send letters through the door once more; what is acceptable now goes in, once. On record in the audit log."""
    trail = AuditTrail(uses.operations.audit, uses.clock, f"{caller.limit_key}")
    async with trail.act("dead_letters.replay", " ".join(map(str, body.ids))) as act:
        done = await uses.operations.replay.run_ids(body.ids)
        act.after = {"replayed": list(done.replayed), "refused": dict(done.refused)}
    return ReplayAnswer(replayed=list(done.replayed), refused=dict(done.refused), stale_lists=len(done.stale_users))
