"""How many threads a computation may use. Libraries with pools of their own are told; BLAS is limited by threadpoolctl.

One thread is what makes a training repeatable bit for bit: sums in another order round differently.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LIMIT: ContextVar[int | None] = ContextVar("threads", default=None)


def thread_limit() -> int:
    """The limit of the surrounding `at_most`; else OMP_NUM_THREADS; else all cores."""
    limit = _LIMIT.get()
    if limit is not None:
        return limit
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else os.cpu_count() or 1


def threads_told() -> str:
    """How many threads compute, and whether the same seed gives the same figures: for reports."""
    limit = thread_limit()
    if limit == 1:
        return "1: the same seed gives the same figures"
    return (
        f"{limit}: one seed may differ in the fourth digit (irspack sums as threads finish); OMP_NUM_THREADS=1 repeats"
    )


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Within this block, in this thread, `allowed()` is `threads`."""
    token = _LIMIT.set(threads)
    try:
        yield
    finally:
        _LIMIT.reset(token)
