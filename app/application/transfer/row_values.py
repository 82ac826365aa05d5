"""Values of file cells: text, numbers, moments. Each function raises RowError with a short reason."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache

import msgspec

from app.domain.entities import RESERVED_ITEM_IDS, RESERVED_USER_IDS
from app.domain.files import Unreadable
from app.domain.identifiers import ID_RULE, as_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = EPOCH + timedelta(days=1)  # day zero is what a broken exporter writes for "unknown"
LEEWAY = timedelta(minutes=5)
RATING_RANGE = (0.5, 5.0)
MISSING = frozenset({"", "nan", "null", "\\n", "nat", "<na>", "none", "na", "n/a", "#n/a", "-"})
"""What stands for nothing where a number, a moment or a word of ours is expected; in lower case."""

UNITS: Mapping[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""How many of a time unit make a second."""

_EXACT = 2**53  # above it a floating number no longer tells two neighbours apart
_MAX_UNIX_SECONDS = 1e11  # anything beyond is milliseconds taken for seconds
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+")
_COMPACT_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_WORDED_DATE = re.compile(r"(\d{1,2})-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-(\d{4})")
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: place for place, name in enumerate(_MONTH_NAMES, start=1)}


class RowError(Exception):
    """Why a row is not taken; the text is for the person who reads the rejects file."""


@dataclass(frozen=True, slots=True)
class Times:
    """How moments are written: the unit of numbers, and the zone of those that name none (None: not said)."""

    unit: str = "s"
    zone: tzinfo | None = None


USUAL_TIMES = Times()


def text_of(value: object, name: str = "the value") -> str | None:
    """The value as text; None for nothing and for empty text."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, Unreadable):
        raise RowError(f"{name} {value.reason}")
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= _EXACT:
            raise RowError(f"{name} is a number too large to be exact: write it as text")
        return str(int(value))  # ids that a data frame has turned into floating point
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    raise RowError(f"{name} is not text")


@lru_cache(maxsize=65_536, typed=True)  # the same users come again and again; 1, 1.0 and True are not the same
def checked_user(value: object) -> str:
    """The value as a user id that may be stored."""
    text = _checked(value, "user_id")
    if text in RESERVED_USER_IDS:
        raise RowError("user_id is reserved")
    return text


@lru_cache(maxsize=65_536, typed=True)
def checked_item(value: object) -> str:
    """The value as an item id that may be stored."""
    text = _checked(value, "item_id")
    if text in RESERVED_ITEM_IDS:
        raise RowError("item_id is reserved")
    return text


def _checked(value: object, name: str) -> str:
    if isinstance(value, float) and not value.is_integer():
        raise RowError(f"{name} is a number that is not whole")
    text = text_of(value, name)
    if text is None:
        raise RowError(f"{name} is missing")
    found = as_id(text)
    if found is None:
        raise RowError(f"{name} is not a valid id: {ID_RULE}")
    return found


def is_nothing(value: object) -> bool:
    """Whether a cell that is to hold a number, a moment or a word of ours holds nothing."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def number_of(value: object, name: str) -> float | None:
    """The value as a finite number; None for nothing. `4,5` is 4.5."""
    if isinstance(value, Unreadable):
        raise RowError(f"{name} {value.reason}")
    try:
        is_number = isinstance(value, int | float | Decimal) or (isinstance(value, str) and "_" not in value)
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]  # it is one of the three
    except (ValueError, OverflowError):
        number = math.nan
    if math.isfinite(number):
        return number
    if is_nothing(value):
        return None
    if isinstance(value, str) and _COMMA_NUMBER.fullmatch(value.strip()):
        return float(value.replace(",", "."))
    raise RowError(f"{name} is not a number")


def integer_of(value: object, name: str) -> int | None:
    """The value as a whole number; None for nothing."""
    number = number_of(value, name)
    if number is None:
        return None
    if not number.is_integer() or abs(number) > 10**9:
        raise RowError(f"{name} is not a whole number")
    return int(number)


def moment_of(value: object, name: str, now: datetime, times: Times = USUAL_TIMES) -> datetime | None:
    """RFC 3339, or a number of seconds since 1970, between 1970-01-02 and five minutes from now; None for nothing."""
    moment = any_moment_of(value, name, times)
    if moment is not None and not _EARLIEST <= moment <= now + LEEWAY:
        raise RowError(f"{name} is before 1970-01-02 or in the future")
    return moment


def any_moment_of(value: object, name: str, times: Times = USUAL_TIMES) -> datetime | None:
    """As `moment_of`, without the bounds."""
    if is_nothing(value):
        return None
    if isinstance(value, datetime):  # Parquet: a timestamp without a zone is UTC by its own definition
        return _zoned(value, times.zone or UTC, name)
    if isinstance(value, date):
        return _zoned(datetime(value.year, value.month, value.day), times.zone or UTC, name)  # noqa: DTZ001 - given next
    if isinstance(value, str | int) and _COMPACT_DATE.fullmatch(str(value)):  # nobody has times of August 1970
        return _parsed(str(value), name, times)
    if isinstance(value, str) and not _looks_like_a_number(value):
        return _parsed(value, name, times)
    return _counted(value, name, times)


def _counted(value: object, name: str, times: Times) -> datetime:
    number = number_of(value, name)
    assert number is not None, "nothing was handled"
    seconds = number / UNITS[times.unit]
    if abs(seconds) > _MAX_UNIX_SECONDS:
        raise RowError(f"{name} is too large for this unit of time: are these milliseconds? --time-unit says so")
    return EPOCH + timedelta(seconds=seconds)


def _looks_like_a_number(text: str) -> bool:
    return text.strip().lstrip("+-").replace(".", "", 1).isdigit()


def _parsed(text: str, name: str, times: Times) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as exc:
        raise RowError(f"{name} is neither RFC 3339 nor a number of seconds since 1970") from exc
    if moment.tzinfo is None and times.zone is None:
        raise RowError(f"{name} has no time zone: --time-zone names one")
    return _zoned(moment, times.zone or UTC, name)


def _zoned(moment: datetime, zone: tzinfo, name: str) -> datetime:
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise RowError(f"{name} is neither RFC 3339 nor a number of seconds since 1970") from exc


def day_or_moment_of(value: object, name: str, times: Times = USUAL_TIMES) -> datetime | None:
    """As `any_moment_of`; a mere day, `2020-01-31` or `31-Jan-2020`, needs no zone: it is UTC."""
    if not isinstance(value, str):
        return any_moment_of(value, name, times)
    text = value.strip()
    if worded := _WORDED_DATE.fullmatch(text):
        text = f"{worded[3]}-{_MONTHS[worded[2]]:02}-{int(worded[1]):02}"
    is_day = len(text) <= 10 and not _looks_like_a_number(text)
    return any_moment_of(text, name, Times(times.unit, times.zone or UTC) if is_day else times)


def mapping_of(value: object) -> Mapping[str, object]:
    """A mapping, or a JSON object as text; empty for nothing."""
    if is_nothing(value):
        return {}
    found = json_of(value) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise RowError("attributes are not a JSON object")
    return found


def boolean_of(value: object, name: str) -> bool:
    """true/false, 1/0, yes/no; nothing is true."""
    if is_nothing(value):
        return True
    text = str(value).strip().lower()
    if text in {"true", "1", "1.0", "yes", "t", "y"}:
        return True
    if text in {"false", "0", "0.0", "no", "f", "n"}:
        return False
    raise RowError(f"{name} is neither true nor false")


def json_of(text: str) -> object:
    """What a JSON text says."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as exc:
        raise RowError("not JSON") from exc
