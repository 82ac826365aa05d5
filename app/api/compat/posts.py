"""The posts system: `/recommendations/{user_id}`, `/admin/reload-model`, `/admin/model-status`, `/health`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import Field

from app.api.compat.answers import OffsetPage, card_of, health_of, loaded_at, people_of, with_example
from app.api.dependencies import ContextDep, Services, ServicesDep
from app.api.security import PUBLIC, require_scopes, with_policy
from app.api.v1.route_docs import CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import QueryInt, RequestModel, ResponseModel, UserIdPath
from app.api.v1.schemas.list_schemas import MAX_OFFSET, ListParams
from app.domain.list_query import RankedItem

routes = router("", "compat: posts")

_MOMENT = "2026-11-21T03:04:10Z"
_LIST = {
    "user_id": "u1",
    "recommendations": [{"post_id": "p7", "score": 0.83, "metadata": {"tags": ["dance"], "communityId": "c3"}}],
    "pagination": {"total": 100, "limit": 20, "offset": 0, "has_more": True},
}
_RELOAD = {
    "success": True,
    "message": "another model is served now",
    "details": {
        "reloaded": True,
        "reason": "new_champion",
        "previous_reload_time": "2026-11-20T03:04:02Z",
        "current_reload_time": _MOMENT,
        "num_users": 500,
        "num_items": 2016,
    },
}
_STATUS = {
    "model_loaded": True,
    "model_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "model_type": "hybrid",
    "model_version": 12,
    "last_reload_time": _MOMENT,
    "num_users": 500,
    "num_items": 2016,
}
_HEALTH = {
    "status": "healthy",
    "components": {
        "model": {"status": "healthy", "type": "hybrid"},
        "database": {"status": "healthy", "response_time_ms": 1.2},
        "features": {"user_features": 17, "item_features": 42},
    },
}


class PageParams(RequestModel):
    """A page of a list by place."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 20
    offset: Annotated[QueryInt, Field(ge=0, le=MAX_OFFSET)] = 0


class PostMetadata(ResponseModel):
    """What is known of a post: its tags, and `attributes.communityId` of the catalog."""

    tags: list[str]
    communityId: str | None  # noqa: N815  # the field's name in the system that is replaced


class PostRecommendation(ResponseModel):
    """One line of a list."""

    post_id: str
    score: float
    metadata: PostMetadata

    @classmethod
    def of(cls, item: RankedItem) -> PostRecommendation:
        metadata = card_of(item)["metadata"]
        community = metadata.get("attributes", {}).get("communityId")
        shown = PostMetadata(tags=metadata.get("tags", []), communityId=None if community is None else str(community))
        return cls(post_id=item.item_id, score=round(item.score, 6), metadata=shown)


class PostList(ResponseModel):
    """A page of a user's list."""

    user_id: str
    recommendations: list[PostRecommendation]
    pagination: OffsetPage


class ReloadDetails(ResponseModel):
    """What became of a request to reload. Times are those at which models were loaded; null: none was."""

    reloaded: bool
    reason: Annotated[Literal["new_champion", "unchanged", "no_model"], Field(examples=["new_champion"])]
    previous_reload_time: datetime | None
    current_reload_time: datetime | None
    num_users: int | None
    num_items: int


class ReloadAnswer(ResponseModel):
    """What became of a request to reload."""

    success: bool
    message: str
    details: ReloadDetails


class ModelState(ResponseModel):
    """The model that this process serves."""

    model_loaded: bool
    model_id: str | None
    model_type: str | None
    model_version: int | None
    last_reload_time: datetime | None
    num_users: int | None
    num_items: int


class PostsHealth(ResponseModel):
    """The state of the service and of its parts."""

    status: Literal["healthy", "degraded", "unhealthy"]
    components: dict[str, dict[str, Any]]


@routes.get(
    "/recommendations/{user_id}",
    operation_id="postsRecommendations",
    response_model=PostList,
    responses={**with_example(_LIST), **problem_responses(*CLOSED_PROBLEMS, 404)},
)
@with_policy(require_scopes("recs:read", owner="user_id"))
async def recommendations(
    user_id: UserIdPath, params: Annotated[PageParams, Query()], uses: ServicesDep, call: ContextDep
) -> PostList:
    """A user's list of posts: what `GET /api/v1/recs/{user_id}` gives, in the posts system's form."""
    asked = ListParams.model_validate(params.model_dump())
    page, _ = await uses.user_lists.page(user_id, asked, call)
    lines = [PostRecommendation.of(item) for item in page.items]
    return PostList(user_id=user_id, recommendations=lines, pagination=OffsetPage.of(page))


@routes.post(
    "/admin/reload-model",
    operation_id="postsReloadModel",
    response_model=ReloadAnswer,
    responses={**with_example(_RELOAD), **problem_responses(*CLOSED_PROBLEMS)},
)
@with_policy(require_scopes("recs:admin", needs_limiter=True))
async def reload_model(uses: ServicesDep) -> ReloadAnswer:
    """Look for another champion now, rather than within seconds as always, and serve it.

    Of this process alone; others follow by themselves. A champion whose artifact is damaged is refused: `unchanged`.
    """
    reloaded = await uses.server.refresh_model()
    model, loads = uses.server.current.model, uses.server.loads
    found = await _facts(uses)
    details = ReloadDetails(
        reloaded=reloaded,
        reason="new_champion" if reloaded else "unchanged" if model is not None else "no_model",
        previous_reload_time=loads.previous,
        current_reload_time=loads.current,
        num_users=found[0],
        num_items=found[1],
    )
    told = {
        "new_champion": "another model is served now",
        "unchanged": "the champion is served already",
        "no_model": "there is no model to serve",
    }
    return ReloadAnswer(success=model is not None, message=told[details.reason], details=details)


@routes.get(
    "/admin/model-status",
    operation_id="postsModelStatus",
    response_model=ModelState,
    responses={**with_example(_STATUS), **problem_responses(*CLOSED_PROBLEMS)},
)
@with_policy(require_scopes("recs:admin", "recs:train"))
async def model_status(uses: ServicesDep) -> ModelState:
    """The model that this process serves."""
    model = uses.server.current.model
    users, items = await _facts(uses)
    return ModelState(
        model_loaded=model is not None,
        model_id=None if model is None else model.model_id,
        model_type=None if model is None else model.model_type,
        model_version=None if model is None else model.version,
        last_reload_time=loaded_at(uses),
        num_users=users,
        num_items=items,
    )


async def _facts(uses: Services) -> tuple[int | None, int]:
    """(users the served model has learnt from, items it knows)."""
    serving = uses.server.current
    if serving.model is None:
        return None, 0
    return await people_of(uses, serving.model.model_id), serving.view.n_model


@routes.get(
    "/health",
    operation_id="postsHealth",
    response_model=PostsHealth,
    responses={**with_example(_HEALTH), 503: {"model": PostsHealth, "description": "No list can be served."}},
)
@with_policy(PUBLIC)
async def health(uses: ServicesDep) -> JSONResponse:
    """The state of each part in the posts system's words; 503 where it is unhealthy."""
    readiness = await uses.readiness()
    model, (of_users, of_items) = uses.server.current.model, uses.server.feature_dimensions
    seconds = readiness.seconds.get("database")
    shown = PostsHealth(
        status=health_of(readiness),
        components={
            "model": {
                "status": "unhealthy" if model is None else "healthy",
                "type": None if model is None else model.model_type,
            },
            "database": {
                "status": "healthy" if readiness.facts.get("database") == "up" else "unhealthy",
                "response_time_ms": None if seconds is None else round(seconds * 1_000, 2),
            },
            "features": {"user_features": of_users, "item_features": of_items},
        },
    )
    return JSONResponse(shown.model_dump(mode="json"), 503 if shown.status == "unhealthy" else 200)
