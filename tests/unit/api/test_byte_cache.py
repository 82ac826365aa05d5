"""Caches that are bounded by bytes."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from app.api.byte_cache import ENTRY_BYTES, ByteCache


def test_what_was_not_used_longest_goes_first() -> None:
    cache: ByteCache[str, str] = ByteCache(3 * (ENTRY_BYTES + 100))
    for key in "abc":
        cache.put(key, key.upper(), 100)
    assert cache.get("a") == "A"
    cache.put("d", "D", 100)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]


def test_a_value_larger_than_everything_is_not_held_and_drives_nobody_out() -> None:
    cache: ByteCache[str, str] = ByteCache(1_000)
    cache.put("a", "A", 100)
    cache.put("b", "B", 1_000)
    assert (cache.get("a"), cache.get("b"), len(cache)) == ("A", None, 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 900)), max_size=60))
def test_the_bound_holds_and_the_count_is_right(steps: list[tuple[int, int]]) -> None:
    cache: ByteCache[int, int] = ByteCache(3_000)
    sizes: dict[int, int] = {}
    for key, size in steps:
        cache.put(key, size, size)
        sizes[key] = size
        assert cache.size_bytes <= 3_000
        held = [key for key in sizes if cache.get(key) is not None]
        assert cache.size_bytes == sum(sizes[key] + ENTRY_BYTES for key in held)


def test_an_entry_takes_no_more_than_it_says() -> None:
    tracemalloc.start()
    try:
        before, cache = tracemalloc.get_traced_memory()[0], ByteCache[int, bytes](1 << 30)
        for number in range(20_000):
            cache.put(1_000_000 + number, bytes(1_000), 1_033)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= cache.size_bytes
