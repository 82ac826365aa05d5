"""What the older systems' answers have in common: cards read back, examples, states of health in their words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from app.api.dependencies import Readiness, Services
from app.api.v1.schemas.common import ResponseModel
from app.domain.list_query import Page, RankedItem


class Refusal(ResponseModel):
    """An error as these systems tell it."""

    error: str
    message: str


class OffsetPage(ResponseModel):
    """Where in the list this page is."""

    total: int
    limit: int
    offset: int
    has_more: bool

    @classmethod
    def of(cls, page: Page) -> OffsetPage:
        has_more = page.offset + len(page.items) < page.total
        return cls(total=page.total, limit=page.limit, offset=page.offset, has_more=has_more)


def card_of(item: RankedItem) -> Mapping[str, Any]:
    """`title` and `metadata` of a line, which lists carry as ready JSON."""
    card: Mapping[str, Any] = msgspec.json.decode(b"{" + item.card + b"}")
    return card


def with_example(example: object, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """The `responses` entry that shows one answer."""
    return {status: {"content": {"application/json": {"example": example}}}}


def health_of(readiness: Readiness) -> str:
    """healthy, degraded or unhealthy."""
    return "unhealthy" if not readiness.is_ready else "degraded" if readiness.is_degraded else "healthy"


def loaded_at(uses: Services) -> datetime | None:
    """When the served model was loaded; None without one."""
    return uses.server.loads.current


async def people_of(uses: Services, model_id: str | None) -> int | None:
    """How many users the model has learnt from; None where its row does not tell."""
    if model_id is None:
        return None
    window = (await uses.registry.show(model_id)).lineage.get("window")
    users = window.get("users") if isinstance(window, Mapping) else None
    return users if isinstance(users, int) else None
