"""`ETag`, `If-Match` and `If-None-Match` of things that are written whole (RFC 9110 §13): nobody overwrites unseen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from app.domain.entities import Item
from app.domain.exceptions import PreconditionError

_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
RawHeaders = Sequence[tuple[bytes, bytes]]


def tag_of(item: Item) -> str:
    """A strong tag: other for every other content of the entry."""
    content = msgspec.json.encode(item, order="deterministic")
    return f'"{blake2b(content, digest_size=16).hexdigest()}"'


def refuse_unmatched(headers: RawHeaders, item: Item | None) -> bool:
    """Raise PreconditionError where a write would not meet what the caller says it has seen. `item`: what is there.

    True if there was any condition: then what is there must still be there when it is written.
    """
    wanted, unwanted = _tags(headers, b"if-match"), _tags(headers, b"if-none-match")
    if wanted is not None and not _holds(wanted, item, is_weak_enough=False):
        raise PreconditionError("not what If-Match names")
    if unwanted is not None and _holds(unwanted, item, is_weak_enough=True):
        raise PreconditionError("what If-None-Match names")
    return wanted is not None or unwanted is not None


def is_held(headers: RawHeaders, item: Item) -> bool:
    """Whether a reader says that it has this very content: 304."""
    tags = _tags(headers, b"if-none-match")
    return tags is not None and _holds(tags, item, is_weak_enough=True)


def _tags(headers: RawHeaders, name: bytes) -> Sequence[bytes] | None:
    """The tags of a header, `*` as itself; None without the header."""
    values = [value.strip() for key, value in headers if key == name]
    if not values:
        return None
    return [b"*"] if values == [b"*"] else _TAG.findall(b",".join(values))


def _holds(tags: Sequence[bytes], item: Item | None, *, is_weak_enough: bool) -> bool:
    if item is None:
        return False
    there = tag_of(item).encode()
    return any(tag in (b"*", there) or (is_weak_enough and tag == b"W/" + there) for tag in tags)
