"""JSON as RFC 8259 means it and nothing else: what two parsers could read differently is refused (RFC 8725 §2.4)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import NoReturn

from app.domain.exceptions import InputError

MAX_KEYS = 1_000
"""Members of one object. Ours have fewer than twenty; attributes of an item may have some hundred."""

MAX_NUMBER_LENGTH = 32
"""Digits of one number; int() is quadratic in them."""

_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])", re.ASCII)
"""Escapes that may spell NUL or half of a surrogate pair: rare, so that only then every text is looked at."""


class MalformedJsonError(InputError):
    """Not JSON at all, or JSON that two parsers may read differently."""

    def __init__(self) -> None:
        super().__init__("the body is not well-formed JSON", "body")


class UnacceptableJsonError(InputError):
    """JSON with a value that nothing of ours can hold: 1e999, NUL, half of a surrogate pair."""

    def __init__(self) -> None:
        super().__init__("the body holds a value that cannot be stored", "body")


def parse_json(raw: bytes) -> object:
    """The value. Raises MalformedJsonError or UnacceptableJsonError, never anything else, whatever the bytes."""
    try:
        value: object = _DECODER.decode(raw.decode("utf-8"))
    except InputError:
        raise
    except (ValueError, RecursionError):
        raise MalformedJsonError from None  # the original would carry the input
    if _SUSPICIOUS.search(raw):
        _refuse_unstorable(value)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_KEYS:
        raise UnacceptableJsonError
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedJsonError
    return found


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise UnacceptableJsonError
    return number


def _int(digits: str) -> int:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise UnacceptableJsonError
    return int(digits)


def _constant(_: str) -> NoReturn:
    raise MalformedJsonError


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant, strict=True
)


def _refuse_unstorable(value: object) -> None:
    for text in _texts(value):
        if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise UnacceptableJsonError


def _texts(value: object) -> Iterator[str]:
    """Every text in the value, keys included. Not recursive: depth is the sender's choice."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as members:
                yield from members
                waiting.extend(members.values())
            case list() as elements:
                waiting.extend(elements)
