"""Rules that a service sends with a request; their meaning is in app/domain/rules.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from app.api.v1.schemas.common import Flag, Id, Label, Moment, Number, RequestModel
from app.api.v1.schemas.list_schemas import MAX_OFFSET, ListType
from app.domain.list_query import Filters
from app.domain.rules import RerankOptions, read_rules

Year = Annotated[int, Field(strict=True, ge=0, le=3_000)]
Labels = Annotated[list[Label], Field(max_length=20, default_factory=list)]


class SelectBody(RequestModel):
    """The items a rule is about: those for which every condition given holds; values of one are alternatives."""

    items: Annotated[list[Id], Field(max_length=100, default_factory=list)]
    genres: Labels
    tags: Labels
    attributes: Annotated[dict[Label, list[Label]], Field(max_length=5, default_factory=dict)]
    year_min: Year | None = None
    year_max: Year | None = None


class RuleBody(RequestModel):
    """What all rules have. A rule counts from `since` until just before `until`; without them, always."""

    name: Label
    select: SelectBody
    since: Moment | None = None
    until: Moment | None = None


class PinBody(RuleBody):
    """These items stand at `position` and after, marked with the source `pinned`, if they may be shown at all."""

    kind: Literal["pin"]
    position: Annotated[int, Field(strict=True, ge=1, le=100)] = 1


class BoostBody(RuleBody):
    """These items are ordered as if they scored `by` standard deviations higher; lower, if that is negative."""

    kind: Literal["boost"]
    by: Annotated[Number, Field(ge=-10, le=10)]


class BlockBody(RuleBody):
    """These items are not shown."""

    kind: Literal["block"]


class WindowBody(RuleBody):
    """These items are not shown outside of the time of the rule."""

    kind: Literal["window"]


class QuotaBody(RuleBody):
    """Of the first `within` items at most or at least so many are of these; it never makes a list shorter."""

    kind: Literal["quota"]
    within: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    at_most: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    at_least: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None


AnyRuleBody = Annotated[PinBody | BoostBody | BlockBody | WindowBody | QuotaBody, Field(discriminator="kind")]


class RuledBody(RequestModel):
    """A user's list under rules of the caller's own."""

    rules: Annotated[
        list[AnyRuleBody],
        Field(
            max_length=20,
            default_factory=list,
            examples=[[{"kind": "pin", "name": "premiere", "select": {"items": ["v7"]}, "position": 1}]],
        ),
    ]
    diversity: Annotated[Number, Field(ge=0, le=1)] | None = None
    type: ListType = "hybrid"
    limit: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    offset: Annotated[int, Field(strict=True, ge=0, le=MAX_OFFSET)] = 0
    exclude_seen: Flag = True
    exclude: Annotated[list[Id], Field(max_length=100, default_factory=list)]
    genres: Labels
    year_min: Year | None = None
    year_max: Year | None = None
    explain: Flag = False

    @property
    def filters(self) -> Filters:
        """The filters of the list."""
        exclude_seen = self.exclude_seen if "exclude_seen" in self.model_fields_set else None
        return Filters(exclude_seen, frozenset(self.exclude), frozenset(self.genres), self.year_min, self.year_max)

    @property
    def shape(self) -> RerankOptions:
        """Rules and diversity. Raises InputError for rules that are impossible."""
        return shape_of(self.rules, self.diversity)


def shape_of(rules: Sequence[AnyRuleBody], diversity: float | None) -> RerankOptions:
    """What a request asks of reranking. Raises InputError for rules that are impossible."""
    written = [rule.model_dump(mode="json", exclude_none=True) for rule in rules]
    return RerankOptions(None if diversity is None else round(diversity, 3), read_rules(written))
