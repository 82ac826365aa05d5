"""Erasures over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from app.api.v1.schemas.common import ResponseModel
from app.domain.erasure import Erasure


class StoreFinding(ResponseModel):
    """What one store had. Null: it cannot be counted there."""

    found: int | None
    removed: int
    found_again: Annotated[int | None, Field(description="when it was looked for again, after the removal")]


class ErasureAnswer(ResponseModel):
    """How far an erasure is; once it is done, its certificate. It names nobody."""

    erasure_id: str
    status: Literal["running", "done"]
    requested_at: datetime
    finished_at: datetime | None
    people: int
    people_sha256: Annotated[
        str, Field(description="SHA-256 over the SHA-256 digests of the user ids, sorted: shows who was meant")
    ]
    stores: dict[str, StoreFinding]
    certificate: Annotated[dict[str, Any] | None, Field(description="what `certificate_sha256` is the hash of")]
    certificate_sha256: Annotated[
        str | None, Field(description="SHA-256 of the certificate as JSON, keys sorted, no spaces; in the audit log")
    ]

    @classmethod
    def of(cls, erasure: Erasure) -> ErasureAnswer:
        return cls(
            erasure_id=erasure.erasure_id,
            status="done" if erasure.is_done else "running",
            requested_at=erasure.requested_at,
            finished_at=erasure.finished_at,
            people=erasure.people,
            people_sha256=erasure.people_sha256,
            stores={
                name: StoreFinding(found=one.found, removed=one.removed, found_again=one.found_again)
                for name, one in sorted(erasure.findings.items())
            },
            certificate=None if erasure.certificate is None else dict(erasure.certificate),
            certificate_sha256=erasure.certificate_sha256,
        )
