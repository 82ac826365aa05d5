"""A leak is reported by the test that made it.

What a test leaves open is found by the garbage collector, some tests later, which then fail for it. So every test that
is a coroutine or uses a server ends with a collection of its own: warnings of what was not closed are errors of this
test. Its loop must have no task left when its fixtures have ended, and the process no socket more than before.
"""

from __future__ import annotations

import gc
import inspect
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from tests import leftovers
from tests.servers.plugin import is_starting, uses_server

SETTLE_SECONDS = 5.0


@contextmanager
def logging_as_it_was() -> Iterator[list[str]]:
    """Handlers and level of the root logger as before; what a handler could not write is listed, not printed.

    A handler that a command under test has installed writes to a stream of that test. Left where it is, everything that
    a thread of a driver logs later ends in a "Logging error" with two tracebacks.
    """
    root, unwritten = logging.getLogger(), list[str]()
    handlers, level = root.handlers[:], root.level
    with patch.object(logging.Handler, "handleError", lambda _self, record: unwritten.append(record.getMessage())):
        yield unwritten
    root.handlers[:], root.level = handlers, level


class LeakError(AssertionError):
    """Something outlived the test."""


def is_coroutine(item: pytest.Item) -> bool:
    """True for a test that runs on a loop."""
    return inspect.iscoroutinefunction(getattr(item, "function", None))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Right behind the other: the loop begins and ends between the two."""
    names = getattr(item, "fixturenames", [])
    if is_coroutine(item) and "leaves_nothing" in names:
        names.insert(names.index("leaves_nothing") + 1, "leaves_no_task")


@pytest.fixture
async def leaves_no_task() -> AsyncIterator[None]:
    """For tests that are coroutines."""
    before = leftovers.tasks()
    yield
    if left := [task for task in leftovers.tasks() - before if not task.done()]:
        raise LeakError(f"tasks are left: {', '.join(sorted(str(task.get_coro()) for task in left))}")


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up before, and torn down after, everything else that is made for one test."""
    with logging_as_it_was() as unwritten:
        if not is_coroutine(request.node) and not uses_server(request.node):
            yield
        else:
            before = leftovers.sockets()
            yield
            gc.collect()
            _check_sockets(request.config, before)
    if unwritten:
        raise LeakError(f"a log line found its handler closed: {unwritten[0]}")


def _check_sockets(config: pytest.Config, before: frozenset[str]) -> None:
    if is_starting(config):  # in threads beside us, which ask the servers whether they are up
        return
    if left := leftovers.settled(lambda: len(leftovers.sockets() - before), SETTLE_SECONDS):
        raise LeakError(f"{left} sockets are left open")
