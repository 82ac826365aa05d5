"""A page as the bytes of docs/design.md §5: cards are ready JSON, so that nothing is parsed on the way out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

import msgspec

from app.domain.experiments import Assignment
from app.domain.list_query import Page, RankedItem, Reason

_text = json.encoder.encode_basestring


def complete_body(head: bytes, request_id: str) -> bytes:
    """The whole answer from its head."""
    return b"".join((head, _text(request_id).encode(), b"}"))


def render_page_head(
    page: Page, subject: tuple[str, str] | None, next_cursor: str | None, assignment: Assignment | None = None
) -> bytes:
    """Everything but the request id, which comes last: what a page's next answer can use again.

    `subject` is ("user_id", …) or ("item_id", …): whose list it is, None for everybody's; `assignment`: of which arm.
    """
    owner = "" if subject is None else f'"{subject[0]}":{_text(subject[1])},'
    model = page.model
    named = (
        "null"
        if model is None
        else f'{{"id":{_text(model.model_id)},"type":{_text(model.model_type)},"version":{model.version}}}'
    )
    has_more = "true" if page.offset + len(page.items) < page.total else "false"
    return b"".join(
        (
            f'{{{owner}"recommendations":['.encode(),
            b",".join([_line(item) for item in page.items]),
            (
                f'],"pagination":{{"total":{page.total},"limit":{page.limit},"offset":{page.offset},'
                f'"has_more":{has_more},"next_cursor":{_optional(next_cursor)}}},'
                f'"model":{named},"experiment":{_experiment(assignment)},'
                f'"is_fallback":{"true" if page.is_fallback else "false"},'
                f'"fallback_reason":{_optional(page.fallback_reason)},"as_of":"{rfc3339(page.as_of)}","request_id":'
            ).encode(),
        )
    )


def _experiment(assignment: Assignment | None) -> str:
    if assignment is None:
        return "null"
    return f'{{"id":{_text(assignment.experiment_id)},"variant":{_text(assignment.arm.name)}}}'


def _line(item: RankedItem) -> bytes:
    start = f'{{"item_id":{_text(item.item_id)},"rank":{item.rank},"score":{round(item.score, 6)!r},'.encode()
    end = f',"source":{_text(item.source)},"reasons":'.encode()
    # Said to those who ask why; everybody else has no use for it.
    chance = f',"propensity":{item.propensity!r}'.encode() if item.reasons and item.propensity != 1.0 else b""
    return b"".join((start, item.card, end, _reasons(item.reasons), chance, b"}"))


def _reasons(reasons: Sequence[Reason]) -> bytes:
    if not reasons:
        return b"[]"
    return msgspec.json.encode(
        [
            {
                "kind": reason.kind,
                "item_id": reason.item_id,
                "title": reason.title,
                "contribution": round(reason.contribution, 6),
            }
            for reason in reasons
        ]
    )


def _optional(value: str | None) -> str:
    return "null" if value is None else _text(value)


def rfc3339(value: datetime) -> str:
    """RFC 3339 in UTC: `2026-11-21T08:30:00.123Z`."""
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
