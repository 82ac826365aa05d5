"""Which text may name a user or an item: one rule for paths, bodies, events, files and token subjects.

Letters, digits, signs and symbols of any script, with spaces inside: what a person can see and type. Nothing invisible
(control and format characters, other spaces than U+0020), nothing that a path could read as structure (`.` and `..`
between slashes), at most 256 bytes of UTF-8. An id is kept and compared in Unicode's composed form (NFC,
https://unicode.org/reports/tr15/): `é` is one id, however it was typed. Capitals and look-alikes of other scripts are
other ids.
"""

from __future__ import annotations

import re
import unicodedata

MAX_ID_BYTES = 256
MAX_ID_LENGTH = MAX_ID_BYTES
"""In characters: none has less than a byte."""

ID_PATTERN = r"^[^\x00-\x20\x7f%\\](?:[^\x00-\x1f\x7f%\\]{0,254}[^\x00-\x20\x7f%\\])?$"
"""What a schema can say of the rule, in the common subset of Python's and ECMA-262's syntax."""

ID_RULE = (
    "1 to 256 bytes of letters, digits, signs and spaces, none of them invisible, no space at the ends, "
    "no . or .. between slashes, no ; at their beginning, no \\ and no %"
)
"""The rule in words."""

_PLAIN = re.compile(r"[A-Za-z0-9_:@|~+=-][A-Za-z0-9_.:@|~+=-]{0,127}", re.ASCII)
_ASCII = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?", re.ASCII)
_NEVER = frozenset("\\%")  # what servers and proxies in front of us rewrite in paths
_NO_SEGMENTS = frozenset({".", ".."})


def as_id(text: str) -> str | None:
    """The id in the form it is kept in, or None if the text may name nobody."""
    if _PLAIN.fullmatch(text):
        return text
    if not text.isascii():
        text = unicodedata.normalize("NFC", text[: MAX_ID_BYTES * 2])
    is_fit = _ASCII.fullmatch(text) is not None if text.isascii() else _is_visible(text)
    if not is_fit or not _NEVER.isdisjoint(text) or any(map(_is_structure, text.split("/"))):
        return None
    return text


def _is_structure(segment: str) -> bool:
    """Whether a proxy could read it as a step in the path: parameters after a semicolon are dropped by some."""
    return segment.startswith(";") or segment.split(";")[0] in _NO_SEGMENTS


def _is_visible(text: str) -> bool:
    return text.isprintable() and text[0] != " " and text[-1] != " " and len(text.encode()) <= MAX_ID_BYTES


def id_of(value: object) -> object:
    """An id as it comes in JSON, in the form it is kept in. A whole number is its digits; what is no id stays."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return (as_id(value) or value) if isinstance(value, str) else value


def is_id(text: str) -> bool:
    """True if the text is an id in the form it is kept in."""
    return as_id(text) == text
