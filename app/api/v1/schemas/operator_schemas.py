"""What operators read: dead letters, reports, their own credential."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from app.api.v1.schemas.common import Label, QueryInt, RequestModel, ResponseModel
from app.domain.entities import DeadLetter
from app.domain.reports import Report

ReportName = Literal["kpis", "evaluation"]
SHOWN_BYTES = 4_096
"""Of a payload: enough to see what is wrong with it; `encore dead-letters show` prints all that is kept."""


class DeadLettersParams(RequestModel):
    """Which letters."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 20
    after: Annotated[QueryInt, Field(ge=0, le=2**63 - 1, description="Only ids after this one.")] = 0
    reason: Label | None = None


class DeadLetterAnswer(ResponseModel):
    """An event that could not be taken in."""

    id: int
    received_at: datetime
    source: Annotated[str, Field(examples=["http"])]
    topic: str | None
    partition: int | None
    offset: int | None
    reason: str
    replayed_at: datetime | None
    sha256: str
    payload: Annotated[str, Field(description=f"Its first {SHOWN_BYTES} bytes; what is no text, as escapes.")]

    @classmethod
    def of(cls, letter: DeadLetter) -> DeadLetterAnswer:
        return cls(
            id=letter.dead_letter_id or 0,
            received_at=letter.received_at,
            source=letter.source,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            reason=letter.reason,
            replayed_at=letter.replayed_at,
            sha256=letter.sha256,
            payload=letter.payload[:SHOWN_BYTES].decode("utf-8", "backslashreplace"),
        )


class DeadLettersAnswer(ResponseModel):
    """A page of them; `waiting` is how many in all have not been replayed."""

    waiting: int
    dead_letters: list[DeadLetterAnswer]


class ReplayBody(RequestModel):
    """Which letters to try again."""

    ids: Annotated[
        list[Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]],
        Field(min_length=1, max_length=100, examples=[[1, 2]]),
    ]


class ReplayAnswer(ResponseModel):
    """Ids that went in, and how many did not, by reason. `stale_lists`: lists that change when they expire."""

    replayed: list[int]
    refused: dict[str, int]
    stale_lists: int


class ReportsParams(RequestModel):
    """How many reports."""

    limit: Annotated[QueryInt, Field(ge=1, le=400)] = 30


class ReportAnswer(ResponseModel):
    """Figures of one slot of the schedule."""

    slot: datetime
    made_at: datetime | None
    model_id: str | None
    figures: dict[str, Any]

    @classmethod
    def of(cls, report: Report) -> ReportAnswer:
        return cls(slot=report.slot, made_at=report.made_at, model_id=report.model_id, figures=dict(report.figures))


class ReportsAnswer(ResponseModel):
    """Reports, newest first."""

    reports: list[ReportAnswer]


class CredentialAnswer(ResponseModel):
    """The caller as this service sees it."""

    subject: str
    is_service: bool
    scopes: list[str]
