"""Whom a payload names: dead letters are JSON of any shape, JSON that was cut off, or no JSON at all. Pure."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterator

from app.domain.identifiers import MAX_ID_LENGTH

MAX_NAMES = 2_000
"""Of one payload, which is kept up to 4 KiB: more pieces than it can have."""

_QUOTED = re.compile(r'"((?:[^"\\\x00-\x1f]|\\.){1,1536})"?')
_BARE = re.compile(r"[^\s\"'\\,;{}\[\]()<>=&\x00-\x1f]{1,256}")
_MAX_DEPTH = 50


def names_in(payload: bytes, limit: int = MAX_NAMES) -> Collection[str]:
    """Every text in it that may be an id: strings and whole numbers of JSON, else quoted and bare words.

    In the form ids are kept in, and as they stand. At most `limit`, those of the beginning.
    """
    text = payload.decode("utf-8", "replace")
    found: set[str] = set()
    for name in _candidates(text):
        if name and len(name) <= MAX_ID_LENGTH:
            found.add(name)
            found.add(unicodedata.normalize("NFC", name))
        if len(found) >= limit:
            break
    return found


def spellings(user_id: str) -> Collection[bytes]:
    """The bytes by which an id stands in a payload: as UTF-8, and as JSON escapes it; decomposed, too."""
    forms = {user_id, unicodedata.normalize("NFD", user_id)}
    escaped = {json.dumps(form, ensure_ascii=plain)[1:-1] for form in forms for plain in (True, False)}
    return {form.encode("utf-8", "surrogatepass") for form in forms | escaped}


def _candidates(text: str) -> Iterator[str]:
    start = text.find("{")
    try:
        value = json.loads(text if start < 0 else text[start:])
    except (ValueError, RecursionError):
        for match in _QUOTED.finditer(text):
            yield _unescaped(match[1])
        yield from _words(text)
    else:
        yield from _strings(value, 0)


def _strings(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        yield from _words(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif depth < _MAX_DEPTH and isinstance(value, (dict, list)):
        for entry in value:
            yield from _strings(entry, depth + 1)
        for entry in value.values() if isinstance(value, dict) else ():
            yield from _strings(entry, depth + 1)


def _words(text: str) -> Iterator[str]:
    for word in _BARE.findall(text):
        yield word
        if ":" in word:
            yield from word.split(":")


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text
