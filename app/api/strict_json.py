"""JSON as RFC 8259 means it and nothing else: what two parsers could read differently is refused (RFC 8725 §2.4)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from app.domain.exceptions import InputError

MAX_KEYS = 1_000
"""Members of one object. Ours have fewer than twenty; attributes of an item may have some hundred."""

MAX_NUMBER_LENGTH = 32
"""Digits of one number; int() is quadratic in them."""

MAX_DEPTH = 64
"""Objects and arrays inside one another. Ours have five; attributes of an item may have some more."""

MAX_CONTAINERS = 100_000
"""Objects and arrays in all: five thousand events have ten thousand; two millions stop the process for seconds."""

MAX_VALUES = 300_000
"""Values in all: a thousand items with every tag and genre have 250,000."""

_BLOCK = 65_536
_QUOTE, _COMMA, _OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = b'",[]{}'
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])", re.ASCII)
"""Escapes that may spell NUL or half of a surrogate pair: rare, so that only then every text is looked at."""


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class MalformedJsonError(InputError):
    """Not JSON at all, or JSON that two parsers may read differently."""

    def __init__(self) -> None:
        super().__init__("the body is not well-formed JSON", "body")


class UnacceptableJsonError(InputError):
    """JSON with a value that nothing of ours can hold: 1e999, NUL, half of a surrogate pair."""

    def __init__(self) -> None:
        super().__init__("the body holds a value that cannot be stored", "body")


def parse_json(raw: bytes) -> object:
    """The value. Raises MalformedJsonError or UnacceptableJsonError, never anything else, whatever the bytes.

    How deep and how rich it is, is looked at first: the parser is one call that holds the interpreter to its end.
    """
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH or raw.count(b",") > MAX_VALUES:
        _refuse_monstrous(raw)
    try:
        value: object = _DECODER.decode(raw.decode("utf-8"))
    except InputError:
        raise
    except (ValueError, RecursionError):
        raise MalformedJsonError from None  # the original would carry the input
    if _SUSPICIOUS.search(raw):
        _refuse_unstorable(value)
    return value


def _refuse_monstrous(raw: bytes) -> None:
    """Raise MalformedJsonError for what is too deep, UnacceptableJsonError for what has too many parts.

    Block by block with NumPy, which lets other threads run; texts are skipped: a bracket in one is a letter.
    """
    if b"\\" in raw:  # escaped quotes end no text; what else is escaped is of no interest
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth, containers, values, is_text = 0, 0, 0, 0
    for start in range(0, len(raw), _BLOCK):
        block = np.frombuffer(raw, np.uint8, min(_BLOCK, len(raw) - start), start)
        within = (np.cumsum(block == _QUOTE, dtype=np.uint8) + np.uint8(is_text)) & 1
        is_text = int(within[-1])
        block = block[within == 0]
        opens = (block == _OPEN_LIST) | (block == _OPEN_OBJECT)
        closes = (block == _CLOSE_LIST) | (block == _CLOSE_OBJECT)
        depths = np.cumsum(opens.astype(np.int32) - closes)
        if len(depths):
            if depth + int(depths.max()) > MAX_DEPTH:
                raise MalformedJsonError
            depth += int(depths[-1])
        containers += int(np.count_nonzero(opens))
        values += int(np.count_nonzero(block == _COMMA))
        if containers > MAX_CONTAINERS or values > MAX_VALUES:
            raise UnacceptableJsonError


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
        if _UNSTORABLE.search(text):
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
