"""How JSON columns are written: compact, keys sorted, so that equal values are equal text."""

from __future__ import annotations

import json
from collections.abc import Mapping


def dump_json(value: object) -> str:
    """Compact JSON with sorted keys. Raises ValueError for NaN and infinities, which JSON does not have."""
    if not value and isinstance(value, list | dict):
        return "[]" if isinstance(value, list) else "{}"
    return _ENCODER.encode(value)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


_ENCODER = json.JSONEncoder(  # one for all: making it costs as much as a small item
    ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False, default=_plain
)
