"""What a key of the artifact store may look like: one rule for every adapter."""

from __future__ import annotations

import re

from app.domain.exceptions import InputError

MAX_KEY_LENGTH = 512
"""S3 allows 1,024 bytes including the prefix of the URL; half of it leaves room for any prefix we accept."""

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def split_key(key: str) -> tuple[str, ...]:
    """The segments of a key. Raises InputError for anything that could leave the store: `..`, `/x`, `a//b`, dot files.

    >>> split_key("models/hybrid/000012-ab/manifest.json")
    ('models', 'hybrid', '000012-ab', 'manifest.json')
    """
    segments = tuple(key.split("/"))
    if len(key) > MAX_KEY_LENGTH or not all(_SEGMENT.match(segment) for segment in segments):
        raise InputError("not a key of the artifact store", "key")
    return segments
