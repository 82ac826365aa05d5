"""`encore recommend USER` and `encore similar ITEM`: lists from the terminal, made by the code that serves them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.shared import JsonFlag, output, run

if TYPE_CHECKING:  # importing these loads every numerical library, which `encore --help` must not wait for
    from app.application.recommending.recommendation_service import RecommendationService
    from app.bootstrap import Container
    from app.domain.list_query import Page, RankedItem, Reason

SHOWN_REASONS = 3

Limit = Annotated[int, typer.Option(min=1, max=100, help="How many.")]


class ListTypeOption(StrEnum):
    """Who ranks: the whole blend, or one part of it."""

    HYBRID = "hybrid"
    COLLABORATIVE = "collaborative"
    CONTENT = "content"
    SEQUENTIAL = "sequential"
    POPULAR = "popular"
    ALS = "als"
    BPR = "bpr"
    LIGHTFM = "lightfm"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("recommend")(recommend)
    app.command("similar")(similar)


def recommend(
    user: Annotated[str, typer.Argument(help="A user id; one that nobody knows gets a fallback list.")],
    limit: Limit = 10,
    type_: Annotated[ListTypeOption, typer.Option("--type", help="Who ranks.")] = ListTypeOption.HYBRID,
    genre: Annotated[list[str] | None, typer.Option(help="Only these genres; repeatable.")] = None,
    seen: Annotated[bool, typer.Option("--include-seen", help="Also what the user has seen.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a user's list."""
    from app.domain.list_query import Filters, ListQuery

    filters = Filters(exclude_seen=False if seen else None, genres=frozenset(genre or ()))
    query = ListQuery(user, type_.value, limit, 0, filters, explain)
    show(run(lambda container: ask(container, lambda lists: lists.recommend(query))), explain, as_json, user_id=user)


def similar(
    item: Annotated[str, typer.Argument(help="An item id.")],
    limit: Limit = 10,
    as_json: JsonFlag = False,
) -> None:
    """Show what is like an item."""
    show(run(lambda container: ask(container, lambda lists: lists.similar(item, limit))), False, as_json, item_id=item)


async def ask(container: Container, question: Callable[[RecommendationService], Awaitable[Page]]) -> Page:
    """Load model and catalog as a server does, ask once, and let go of them."""
    from app.bootstrap import make_recorder, make_serving

    serving = make_serving(container, make_recorder(container))
    await serving.start()
    try:
        return await question(serving.lists)
    finally:
        await serving.close()


def show(page: Page, explain: bool, as_json: bool, **asked_for: str) -> None:
    """The list as a table, with one line before it when a simpler source has answered."""
    out = output(as_json)
    if page.is_fallback:
        out.note(f"a fallback list: {page.fallback_reason}")
    if not page.items:
        out.note("nothing to show")
    columns = ("", "title", "item", "genres", "year", "score", "source", *(("because",) if explain else ()))
    rows = [(*_row(item), *((_because(item.reasons),) if explain else ())) for item in page.items]
    out.table({**asked_for, **as_data(page)}, columns, rows)


def as_data(page: Page) -> Mapping[str, object]:
    """What `--json` prints: the names are those of the HTTP answer."""
    model = page.model
    return {
        "recommendations": [_as_data(item) for item in page.items],
        "total": page.total,
        "model": None if model is None else {"id": model.model_id, "type": model.model_type, "version": model.version},
        "is_fallback": page.is_fallback,
        "fallback_reason": page.fallback_reason,
        "as_of": page.as_of.isoformat(),
    }


def _as_data(item: RankedItem) -> Mapping[str, object]:
    reasons = [
        {"kind": r.kind, "item_id": r.item_id, "title": r.title, "contribution": r.contribution} for r in item.reasons
    ]
    place = {"item_id": item.item_id, "rank": item.rank, "score": item.score, "source": item.source}
    return {**place, **_card(item), "reasons": reasons}


def _card(item: RankedItem) -> Mapping[str, Any]:
    card: Mapping[str, Any] = json.loads(b"{" + item.card + b"}")
    return card


def _row(item: RankedItem) -> Sequence[object]:
    card = _card(item)
    metadata = card.get("metadata") or {}
    genres = ", ".join(metadata.get("genres") or ())
    return item.rank, card.get("title"), item.item_id, genres, metadata.get("year"), f"{item.score:.3f}", item.source


def _because(reasons: Sequence[Reason]) -> str:
    return ", ".join(
        f"{reason.title or reason.item_id or reason.kind} ({reason.contribution:+.2f})"
        for reason in reasons[:SHOWN_REASONS]
    )
