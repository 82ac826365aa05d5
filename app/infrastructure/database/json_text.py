"""How JSON columns are written: compact, keys sorted, so that equal values are equal text."""

from __future__ import annotations

import json
from collections.abc import Mapping


def dump_json(value: object) -> str:
    """Compact JSON with sorted keys. Raises ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")
