"""Types shared by all requests and answers: strict, bounded, nothing converted behind the sender's back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.domain.identifiers import ID_PATTERN, ID_RULE, MAX_ID_BYTES, MAX_ID_LENGTH, id_of, is_id

_DIGITS = re.compile(r"-?(?:0|[1-9][0-9]{0,15})", re.ASCII)
_SHARE = re.compile(r"0(?:\.[0-9]{1,3})?|1(?:\.0{1,3})?", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
TEXT_PATTERN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
"""No control characters except tab and line breaks."""


def _whole_number(value: object) -> object:
    """`1.0`, `+1`, ` 1` and `1_0` are no integers in a query, whatever int() thinks."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise PydanticCustomError("int_parsing", "not an integer")
    return value


def _id(value: object) -> object:
    """An id in the form it is kept in; what the pattern alone would let pass is refused as if it had not."""
    found = id_of(value)
    if isinstance(found, str) and len(found) <= MAX_ID_BYTES and not is_id(found):
        raise PydanticCustomError("string_pattern_mismatch", "not an id")
    return found


def _true_or_false(value: object) -> object:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise PydanticCustomError("bool_parsing", "not a boolean")
    return value


def _moment(value: object) -> object:
    """Numbers are refused: seconds and milliseconds look the same."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise PydanticCustomError("datetime_rfc3339", "not an RFC 3339 time with an offset")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("datetime_rfc3339", "no such time") from None


def _share(value: object) -> object:
    """At most three decimals: a list is cached for each value that is asked for."""
    if isinstance(value, str) and not _SHARE.fullmatch(value):
        raise PydanticCustomError("float_parsing", "not a number from 0 to 1 with at most three decimals")
    return value


QueryShare = Annotated[float, BeforeValidator(_share)]
QueryInt = Annotated[int, BeforeValidator(_whole_number)]
QueryBool = Annotated[bool, BeforeValidator(_true_or_false)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
_IdText = Annotated[str, BeforeValidator(_id)]
_ID_WORDS = f"{ID_RULE}; kept in Unicode's composed form (NFC)."
Id = Annotated[
    _IdText,
    Field(
        pattern=ID_PATTERN,
        max_length=MAX_ID_LENGTH,
        description=f"{_ID_WORDS} A whole number is taken as its digits.",
    ),
]
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=TEXT_PATTERN)]
Cursor = Annotated[str, Field(min_length=1, max_length=7_000, pattern=r"^[A-Za-z0-9_-]+$")]
Whole = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]

UserIdPath = Annotated[
    _IdText, Path(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH, description=_ID_WORDS, examples=["u1"])
]
ItemIdPath = Annotated[
    _IdText, Path(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH, description=_ID_WORDS, examples=["v7"])
]
UuidPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["0f8fad5bd9cb469fa16570867728950e"])]


class RequestModel(BaseModel):
    """Anything that comes in: a name we do not know is refused, not ignored (OWASP API3:2023)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ResponseModel(BaseModel):
    """Anything that goes out."""

    model_config = ConfigDict(frozen=True)


class FieldProblem(ResponseModel):
    """One field that is wrong. `pointer` is an RFC 6901 pointer in URI form, `code` a stable word."""

    in_: Annotated[str, Field(alias="in", examples=["query"])]
    pointer: Annotated[str, Field(examples=["#/limit"])]
    code: Annotated[str, Field(examples=["less_than_equal"])]


class Problem(ResponseModel):
    """RFC 9457. `type` and `title` are fixed for a kind of problem."""

    type: Annotated[str, Field(examples=["urn:problem-type:encore:invalid-request"])]
    title: Annotated[str, Field(examples=["Some part of the request is not acceptable"])]
    status: Annotated[int, Field(examples=[422])]
    request_id: Annotated[str, Field(examples=["5d1f3a0c9b7e4f62a8c4d2e1f0b3a596"])]
    errors: list[FieldProblem] | None = None
    resource: Annotated[str | None, Field(description="404: the noun nobody has")] = None
    training_id: Annotated[str | None, Field(description="409: the training that is running")] = None


class CursorPage(ResponseModel):
    """Where a keyset page ends: hand `next_cursor` back for the next one; null on the last."""

    limit: int
    has_more: bool
    next_cursor: str | None
