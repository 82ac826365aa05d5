"""The movies system: `/recommend`, `/similar`, `/popular`, `/health`."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.api.compat.answers import Refusal, card_of, health_of, loaded_at, with_example
from app.api.dependencies import ContextDep, PrincipalDep, ServicesDep
from app.api.security import PUBLIC, require_scopes, require_self, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import Flag, Id, Label, QueryInt, RequestModel, ResponseModel
from app.api.v1.schemas.list_schemas import ListParams
from app.domain.exceptions import NotFoundError
from app.domain.list_query import Page, RankedItem

routes = router("", "compat: movies")
READ = require_scopes("recs:read", "catalog:write")

_LINE = {"movie_id": "1", "title": "Toy Story", "score": 0.83}
_LIST = {
    "user_id": "42",
    "recommendations": [_LINE],
    "model_version": "12",
    "is_fallback": True,
    "fallback_reason": "no_history",
}
_SIMILAR = {"movie_id": "1", "recommendations": [{**_LINE, "movie_id": "3114"}], "model_version": "12"}
_POPULAR = {"recommendations": [{"movie_id": "1", "title": "Toy Story", "popularity_score": 812.0}], "source": "model"}
_HEALTH = {
    "status": "healthy",
    "model_version": "12",
    "model_loaded_at": "2026-11-21T03:04:10Z",
    "uptime_seconds": 3600.5,
}
_NOBODY = {"error": "not_found", "message": "there is no such movie"}

Count = Annotated[int, Field(strict=True, ge=1, le=100)]
Year = Annotated[int, Field(strict=True, ge=0, le=3_000)]


class MovieFilters(RequestModel):
    """What may be in the list; `genres` are alternatives."""

    genres: Annotated[list[Label], Field(max_length=20, default_factory=list)]
    year_min: Year | None = None
    year_max: Year | None = None

    @model_validator(mode="after")
    def _years_in_order(self) -> Self:
        if self.year_min is not None and self.year_max is not None and self.year_min > self.year_max:
            raise PydanticCustomError("year_order", "year_min is after year_max")
        return self


class RecommendBody(RequestModel):
    """Whose list, how long, of what."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"user_id": 42, "k": 10, "filters": {"genres": ["Comedy"], "year_min": 1990, "year_max": 1999}}
        }
    )

    user_id: Id
    k: Count = 10
    exclude_seen: Flag = True
    filters: MovieFilters | None = None

    @property
    def params(self) -> ListParams:
        """The same as the parameters of a list. What is not said stays unsaid: settings and experiments decide."""
        wanted = self.filters or MovieFilters(genres=[])
        given: dict[str, object] = {"limit": self.k, **wanted.model_dump(exclude={"genres"}, exclude_none=True)}
        if "exclude_seen" in self.model_fields_set:
            given["exclude_seen"] = self.exclude_seen
        return ListParams.model_validate({**given, "genre": wanted.genres})


class SimilarBody(RequestModel):
    """Like which movie, and how many."""

    model_config = ConfigDict(json_schema_extra={"example": {"movie_id": 1, "k": 10}})

    movie_id: Id
    k: Count = 10


class PopularParams(RequestModel):
    """How many, and of which genre."""

    k: Annotated[QueryInt, Field(ge=1, le=100)] = 10
    genre: Label | None = None


class Movie(ResponseModel):
    """One line of a list."""

    movie_id: str
    title: str | None
    score: float

    @classmethod
    def of(cls, item: RankedItem) -> Movie:
        return cls(movie_id=item.item_id, title=card_of(item)["title"], score=round(item.score, 6))


class MovieList(ResponseModel):
    """A user's list, and what made it."""

    user_id: str
    recommendations: list[Movie]
    model_version: str | None
    is_fallback: bool
    fallback_reason: str | None


class SimilarMovies(ResponseModel):
    """Movies like one."""

    movie_id: str
    recommendations: list[Movie]
    model_version: str | None


class PopularMovie(ResponseModel):
    """One line of what is popular."""

    movie_id: str
    title: str | None
    popularity_score: float


class PopularMovies(ResponseModel):
    """What is popular, by the model's figures or, without a model, by the database's count."""

    recommendations: list[PopularMovie]
    source: Literal["model", "database"]


class MoviesHealth(ResponseModel):
    """The state of the service."""

    status: Literal["healthy", "degraded", "unhealthy"]
    model_version: str | None
    model_loaded_at: datetime | None
    uptime_seconds: float


@routes.post(
    "/recommend",
    operation_id="moviesRecommend",
    response_model=MovieList,
    responses={**with_example(_LIST), **problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404)},
)
@with_policy(require_scopes("recs:read"))
async def recommend(body: RecommendBody, uses: ServicesDep, call: ContextDep, caller: PrincipalDep) -> MovieList:
    """A user's list of movies: what `GET /api/v1/recs/{user_id}` gives. People reach only their own `user_id`."""
    require_self(caller, body.user_id)
    page, _ = await uses.user_lists.page(body.user_id, body.params, call)
    return MovieList(
        user_id=body.user_id,
        recommendations=[Movie.of(item) for item in page.items],
        model_version=version_of(page),
        is_fallback=page.is_fallback,
        fallback_reason=page.fallback_reason,
    )


@routes.post(
    "/similar",
    operation_id="moviesSimilar",
    response_model=SimilarMovies,
    responses={
        **with_example(_SIMILAR),
        **problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS),
        404: {"model": Refusal, "description": "Nobody knows this movie.", **with_example(_NOBODY)[200]},
    },
)
@with_policy(READ)
async def similar(body: SimilarBody, uses: ServicesDep, call: ContextDep) -> SimilarMovies | JSONResponse:
    """Movies like this one: what `GET /api/v1/items/{item_id}/similar` gives."""
    started = time.perf_counter()
    try:
        page = await uses.recommendation.similar(body.movie_id, body.k)
    except NotFoundError:
        return JSONResponse(_NOBODY, 404)
    uses.record(call, "similar", page, started)
    return SimilarMovies(
        movie_id=body.movie_id,
        recommendations=[Movie.of(item) for item in page.items],
        model_version=version_of(page),
    )


@routes.get(
    "/popular",
    operation_id="moviesPopular",
    response_model=PopularMovies,
    responses={**with_example(_POPULAR), **problem_responses(*CLOSED_PROBLEMS)},
)
@with_policy(READ)
async def popular(params: Annotated[PopularParams, Query()], uses: ServicesDep, call: ContextDep) -> PopularMovies:
    """What most people watch: what `GET /api/v1/items/popular` gives."""
    started = time.perf_counter()
    page = await uses.recommendation.popular(params.genre, None, params.k)
    uses.record(call, "popular", page, started)
    lines = [
        PopularMovie(movie_id=item.item_id, title=card_of(item)["title"], popularity_score=round(item.score, 6))
        for item in page.items
    ]
    return PopularMovies(recommendations=lines, source="database" if page.model is None else "model")


@routes.get(
    "/health",
    operation_id="moviesHealth",
    response_model=MoviesHealth,
    responses={**with_example(_HEALTH), 503: {"model": MoviesHealth, "description": "No list can be served."}},
)
@with_policy(PUBLIC)
async def health(uses: ServicesDep) -> JSONResponse:
    """The state of the service in the movies system's words; 503 where it is unhealthy."""
    readiness, model = await uses.readiness(), uses.server.current.model
    shown = MoviesHealth(
        status=health_of(readiness),
        model_version=None if model is None else str(model.version),
        model_loaded_at=loaded_at(uses),
        uptime_seconds=round(readiness.uptime_seconds, 1),
    )
    return JSONResponse(shown.model_dump(mode="json"), 503 if shown.status == "unhealthy" else 200)


def version_of(page: Page) -> str | None:
    """The version of the model that made the page, as text; None without one."""
    return None if page.model is None else str(page.model.version)
