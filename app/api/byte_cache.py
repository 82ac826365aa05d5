"""A cache in process memory that is bounded by bytes, not entries; what was not used longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

ENTRY_BYTES = 250
"""The slot in the table, the tuple and the number beside each value, measured by tracemalloc on CPython 3.11."""


class ByteCache(Generic[K, V]):
    """Values with the bytes they take, as whoever puts them says. Not thread-safe: for one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """The value, used now; None if it is not held."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def clear(self) -> None:
        """Hold nothing any more."""
        self._held.clear()
        self.size_bytes = 0

    def put(self, key: K, value: V, size: int) -> None:
        """Hold a value of `size` bytes, in place of what was held under its key; not one larger than everything."""
        before = self._held.pop(key, None)
        if before is not None:
            self.size_bytes -= before[1]
        size += ENTRY_BYTES
        if size > self._max_bytes:
            return
        self._held[key] = (value, size)
        self.size_bytes += size
        while self.size_bytes > self._max_bytes:
            _key, (_value, gone) = self._held.popitem(last=False)
            self.size_bytes -= gone
