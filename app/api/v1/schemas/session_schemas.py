"""Lists for a history that travels in the request."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.api.v1.schemas.common import Flag, Id, Label, Number, RequestModel
from app.api.v1.schemas.list_schemas import ListType
from app.api.v1.schemas.rule_schemas import AnyRuleBody, Year, shape_of
from app.domain.list_query import Filters
from app.domain.rules import RerankOptions


class SessionItem(RequestModel):
    """One thing an anonymous visitor did."""

    item_id: Id
    weight: Annotated[Number, Field(ge=-10, le=10)] = 1.0


class SessionBody(RequestModel):
    """A list for somebody without an id: the history travels in the request, newest first."""

    history: Annotated[list[Id | SessionItem], Field(max_length=200, examples=[["v2", "v5"]])]
    type: ListType = "hybrid"
    limit: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    exclude_seen: Flag = True
    exclude: Annotated[list[Id], Field(max_length=100, default_factory=list)]
    genres: Annotated[list[Label], Field(max_length=20, default_factory=list)]
    year_min: Year | None = None
    year_max: Year | None = None
    explain: Flag = False
    diversity: Annotated[
        Number | None,
        Field(ge=0, le=1, description="How unlike one another items shall be; default: the setting list_diversity."),
    ] = None
    rules: Annotated[
        list[AnyRuleBody],
        Field(max_length=20, default_factory=list, description="For services and admins alone: 403 for others."),
    ]

    @property
    def filters(self) -> Filters:
        """The filters of the list."""
        exclude_seen = self.exclude_seen if "exclude_seen" in self.model_fields_set else None
        return Filters(exclude_seen, frozenset(self.exclude), frozenset(self.genres), self.year_min, self.year_max)

    @property
    def shape(self) -> RerankOptions:
        """Rules and diversity. Raises InputError for rules that are impossible."""
        return shape_of(self.rules, self.diversity)
