"""Lists in file cells: JSON, as Python prints them, or text with separators; and what an attribute may hold."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

from app.application.transfer.row_values import RowError, json_of
from app.domain.files import Unreadable

_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_PYTHON_LIST = re.compile(rf"[\[({{]\s*u?{_QUOTED}(?:[\s,]+u?{_QUOTED})*\s*,?\s*[\])}}]")  # numpy prints no commas
_ENTRY = re.compile(_QUOTED)
_MAX_PYTHON_CHARACTERS, _MAX_BRACKETS = 65_536, 2_000
_MAX_NUMBER = 2**63
_MAX_DEPTH = 32
_SURROGATE = re.compile("[\ud800-\udfff]")


def list_of(value: object, separator: str | None, name: str) -> tuple[str, ...]:
    """A list, JSON or Python text for one, or text split at `separator`; no entry twice, none that is empty.

    Without a separator text is split at pipes if there are any, else at commas. Of objects the field `name` counts.
    """
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return _of_text(value, separator, name)
    return _entries(value, name)


@lru_cache(maxsize=16_384)  # genres repeat
def _of_text(text: str, separator: str | None, name: str) -> tuple[str, ...]:
    stripped = text.strip()
    if stripped[:1] in "[({" and stripped[-1:] in "])}" and len(stripped) > 1:
        return _entries(_bracketed(stripped, separator), name)
    if stripped.startswith("["):
        raise RowError(f"{name}: not JSON")
    if separator is None:
        separator = "|" if "|" in text else ","
    return _once(entry.strip() for entry in text.split(separator))


def _bracketed(text: str, separator: str | None) -> object:
    try:
        return json_of(text)
    except RowError:
        if _PYTHON_LIST.fullmatch(text):
            return [ast.literal_eval(entry[0]) for entry in _ENTRY.finditer(text)]
        if _is_literal(text):
            return _literal(text)
        if text[0] != "[":
            return [part.strip() for part in text.split(separator or ",")]
        raise


def _is_literal(text: str) -> bool:
    """Whether it is small and flat enough to be parsed as Python, and looks like it."""
    brackets = sum(text.count(bracket) for bracket in "[({")
    return ("'" in text or "None" in text) and len(text) <= _MAX_PYTHON_CHARACTERS and brackets <= _MAX_BRACKETS


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as exc:
        raise RowError("not JSON") from exc


def _entries(value: object, name: str) -> tuple[str, ...]:
    if isinstance(value, Unreadable):
        raise RowError(f"{name} {value.reason}")
    if not isinstance(value, list | tuple | set):
        raise RowError(f"{name} is not a list of texts")
    return _once(_entry(one, name) for one in value if one is not None)


def _entry(value: object, name: str) -> str:
    if isinstance(value, Mapping):
        value = value.get("name")
    if not isinstance(value, str):
        raise RowError(f"{name} is not a list of texts")
    return value


def _once(entries: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entry for entry in entries if entry))  # type: ignore[attr-defined]  # an iterable of texts


def storable_text(text: str, name: str) -> str:
    """The text. Raises RowError for characters that no database holds."""
    if "\0" in text or (not text.isascii() and _SURROGATE.search(text)):
        raise RowError(f"{name} holds characters that cannot be stored, or bytes that are not in the file's encoding")
    return text


def storable(value: object, name: str, depth: int = 0) -> object:
    """An attribute's value as JSON has it: dates as RFC 3339, no NaN. Raises RowError for what JSON has not."""
    if isinstance(value, str):
        return storable_text(value, name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _storable_number(value, name)
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, Unreadable):
        raise RowError(f"{name} {value.reason}")
    if depth >= _MAX_DEPTH:
        raise RowError(f"{name} is nested too deeply")
    if isinstance(value, Mapping):
        return {storable_text(str(key), name): storable(cell, name, depth + 1) for key, cell in value.items()}
    if isinstance(value, Sequence):
        return [storable(cell, name, depth + 1) for cell in value]
    raise RowError(f"{name} cannot be stored")


def _storable_number(value: float, name: str) -> object:
    if isinstance(value, float) and math.isnan(value):
        return None
    if (isinstance(value, float) and math.isinf(value)) or not -_MAX_NUMBER <= value < _MAX_NUMBER:
        raise RowError(f"{name} is a number too large to be stored")
    return value
