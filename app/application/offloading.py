"""Work on large bodies, in one thread of its own: the event loop answers others meanwhile.

One thread, not one a request: two that compute only take the interpreter from each other and from the loop. What runs
there must not hold the interpreter for long: Python code lets go of it every 5 ms, a single call into C does not, so
what such a call is given is bounded first (strict_json.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES = 16_384
"""Below this, decoding takes less than handing it to a thread and back is worth: about a millisecond."""

_THREAD = ThreadPoolExecutor(1, "decoding")


async def apart(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work(…)`: made here if what it is about has less than LARGE_BYTES, in the thread otherwise.

    How many wait for the thread is bounded by the places for requests (`Admission`).
    """
    if size < LARGE_BYTES:
        return work(*args, **kwargs)
    future = _THREAD.submit(work, *args, **kwargs)
    return await asyncio.wrap_future(future)
