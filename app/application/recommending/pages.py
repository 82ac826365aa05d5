"""From a ranked list to the page that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b

from app.application.ranking.list_ranking import PLACEMENT_SOURCES, SCORE_DIGITS
from app.application.ranking.serving_state import ServingState
from app.domain.keys import key_text
from app.domain.list_query import ModelRef, Page, RankedItem, Reason
from app.domain.ranked_list import RankedList


def build_page(
    serving: ServingState,
    ranked: RankedList,
    limit: int,
    offset: int,
    reasons: Sequence[tuple[Reason, ...]] = (),
    *,
    from_cache: bool = False,
    model: ModelRef | None = None,
    rest: bytes = b"",
) -> Page:
    """Lines offset+1 … offset+limit of a list; `reasons[i]` belongs to its i-th line, `rest` to what follows.

    `model`: which made the list, if that is another than the serving one.
    """
    return Page(
        items=_lines(serving, ranked, limit, offset, reasons),
        total=len(ranked),
        limit=limit,
        offset=offset,
        model=model or serving.model,
        is_fallback=ranked.fallback is not None,
        fallback_reason=ranked.fallback,
        as_of=datetime.fromtimestamp(ranked.as_of, UTC),
        etag=_etag(serving, ranked, limit, offset, reasons),
        from_cache=from_cache,
        rest=rest,
    )


def _lines(
    serving: ServingState, ranked: RankedList, limit: int, offset: int, reasons: Sequence[tuple[Reason, ...]]
) -> tuple[RankedItem, ...]:
    view, shown = serving.view, slice(offset, offset + limit)
    columns = (ranked.positions[shown].tolist(), ranked.scores[shown].tolist(), ranked.sources[shown].tolist())
    return tuple(
        RankedItem(
            view.ids.ids[position],
            offset + row + 1,
            round(score, SCORE_DIGITS),
            ranked.source_names[source],
            view.cards[position],
            (*reasons[row], *_placed(ranked.source_names[source])) if reasons else (),
            ranked.propensity if offset + row == ranked.slot else 1.0,
        )
        for row, (position, score, source) in enumerate(zip(*columns, strict=True))
    )


def _placed(source: str) -> tuple[Reason, ...]:
    """The reason of an item that stands where it stands for another cause than its score."""
    return (Reason(source, 0.0),) if source in PLACEMENT_SOURCES else ()


def _etag(
    serving: ServingState, ranked: RankedList, limit: int, offset: int, reasons: Sequence[tuple[Reason, ...]]
) -> str:
    """A digest of everything that a page shows: list, cards (by the catalog's revision), place, reasons."""
    digest = blake2b(digest_size=16)
    place = (serving.label, serving.view.revision, offset, limit, ranked.fallback, len(ranked.positions))
    digest.update(key_text(*place).encode())
    digest.update(ranked.positions.tobytes() + ranked.scores.tobytes() + ranked.sources.tobytes())
    if reasons:
        digest.update(repr(reasons).encode())
    return digest.hexdigest()
