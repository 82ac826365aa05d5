"""Values of file cells: text, numbers, moments, lists. Each function raises RowError with a short reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from app.domain.entities import RESERVED_ITEM_IDS, RESERVED_USER_IDS
from app.domain.identifiers import is_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = EPOCH + timedelta(days=1)  # day zero is what a broken exporter writes for "unknown"
LEEWAY = timedelta(minutes=5)
RATING_RANGE = (0.5, 5.0)
_MAX_UNIX_SECONDS = 1e11  # anything beyond is milliseconds taken for seconds


class RowError(Exception):
    """Why a row is not taken; the text is for the person who reads the rejects file."""


def text_of(value: object) -> str | None:
    """The value as text; None for nothing and for empty text."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # ids that a data frame has turned into floating point
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError("not text")


@lru_cache(maxsize=65_536)  # the same users come again and again
def checked_user(value: object) -> str:
    """The value as a user id that may be stored."""
    text = _checked(value, "user_id")
    if text in RESERVED_USER_IDS:
        raise RowError("user_id is reserved")
    return text


@lru_cache(maxsize=65_536)
def checked_item(value: object) -> str:
    """The value as an item id that may be stored."""
    text = _checked(value, "item_id")
    if text in RESERVED_ITEM_IDS:
        raise RowError("item_id is reserved")
    return text


def _checked(value: object, name: str) -> str:
    text = text_of(value)
    if text is None:
        raise RowError(f"{name} is missing")
    if not is_id(text):
        raise RowError(f"{name} is not a valid id")
    return text


def number_of(value: object, name: str) -> float | None:
    """The value as a finite number; None for nothing."""
    if value is None or value == "":
        return None
    try:
        is_number = isinstance(value, int | float) or (isinstance(value, str) and "_" not in value)
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]  # it is one of the three
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f"{name} is not a number")
    return number


def integer_of(value: object, name: str) -> int | None:
    """The value as a whole number; None for nothing."""
    number = number_of(value, name)
    if number is None:
        return None
    if not number.is_integer() or abs(number) > 10**9:
        raise RowError(f"{name} is not a whole number")
    return int(number)


def moment_of(value: object, name: str, now: datetime) -> datetime | None:
    """RFC 3339 with a zone, or Unix seconds, between 1970-01-02 and five minutes from now; None for nothing."""
    moment = any_moment_of(value, name)
    if moment is not None and not _EARLIEST <= moment <= now + LEEWAY:
        raise RowError(f"{name} is before 1970-01-02 or in the future")
    return moment


def any_moment_of(value: object, name: str) -> datetime | None:
    """As `moment_of`, without the bounds."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):  # Parquet: a timestamp without a zone is UTC by its own definition
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, str) and not _looks_like_a_number(value):
        return _parsed(value, name)
    seconds = number_of(value, name)
    assert seconds is not None, "empty was handled"
    if abs(seconds) > _MAX_UNIX_SECONDS:
        raise RowError(f"{name} is too large for Unix seconds: are these milliseconds?")
    return EPOCH + timedelta(seconds=seconds)


def _looks_like_a_number(text: str) -> bool:
    return text.lstrip("+-").replace(".", "", 1).isdigit()


def _parsed(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise RowError(f"{name} has no time zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise RowError(f"{name} is neither RFC 3339 nor Unix seconds") from exc


def list_of(value: object, separator: str) -> tuple[str, ...]:
    """A list, a JSON array as text, or text split at `separator`; repeated and empty entries once and not at all."""
    if isinstance(value, str) and value.startswith("["):
        value = _json(value)
    entries = value.split(separator) if isinstance(value, str) else value
    if entries is None:
        return ()
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, str) for entry in entries):
        raise RowError("not a list of texts")
    return tuple(dict.fromkeys(entry for entry in entries if entry))


def mapping_of(value: object) -> Mapping[str, object]:
    """A mapping, or a JSON object as text; empty for nothing."""
    if value is None or value == "":
        return {}
    found = _json(value) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise RowError("attributes are not a JSON object")
    return found


def boolean_of(value: object, name: str) -> bool:
    """true/false, 1/0, yes/no; nothing is true."""
    text = str(value).strip().lower() if value is not None else ""
    if text in {"", "true", "1", "yes"}:
        return True
    if text in {"false", "0", "no"}:
        return False
    raise RowError(f"{name} is neither true nor false")


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as exc:
        raise RowError("not JSON") from exc
