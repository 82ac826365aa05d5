"""What a piece of work leaves behind in this process: descriptors, tasks, threads, and what complains of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

DESCRIPTORS = "/proc/self/fd"


def sockets() -> frozenset[str]:
    """The sockets this process holds, by name (`socket:[inode]`). Empty where there is no /proc."""
    return frozenset(name for name in _descriptors() if name.startswith("socket:"))


def files(folder: str) -> frozenset[str]:
    """The files below a folder that this process holds open, `number name` each."""
    return frozenset(f"{number} {name}" for number, name in _numbered() if name.startswith(folder))


def _descriptors() -> list[str]:
    return [name for _number, name in _numbered()]


def _numbered() -> Iterator[tuple[str, str]]:
    numbers = os.listdir(DESCRIPTORS) if os.path.isdir(DESCRIPTORS) else []  # noqa: PTH112, PTH208 - not a tree of files
    for number in numbers:
        try:
            yield number, os.readlink(f"{DESCRIPTORS}/{number}")  # noqa: PTH115 - the same
        except OSError:  # closed meanwhile: the one that listed the folder, at least
            continue


def tasks() -> frozenset[asyncio.Task[Any]]:
    """The tasks of the running loop, without the one that asks."""
    return frozenset(asyncio.all_tasks() - {asyncio.current_task()})


def threads() -> frozenset[threading.Thread]:
    """The living threads, without those of loops' own executors, which end with the loop."""
    return frozenset(one for one in threading.enumerate() if not one.name.startswith("asyncio_"))


def settled(count: Callable[[], int], seconds: float) -> int:
    """What `count` says once it says 0, or after `seconds`: threads end, and the kernel closes, a moment later."""
    deadline = time.monotonic() + seconds
    while (left := count()) and time.monotonic() < deadline:
        time.sleep(0.002)
    return left


@dataclass(slots=True)
class Complaints:
    """What the interpreter, the loop and the logging module said of things that were not closed or not looked at."""

    lines: list[str] = field(default_factory=list)

    def note(self, kind: str, what: object) -> None:
        self.lines.append(f"{kind}: {what}")


@contextmanager
def heard() -> Iterator[Complaints]:
    """Collect complaints of this process within the block: ResourceWarnings, errors in `__del__`, threads, logging."""
    complaints = Complaints()
    before = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda found: complaints.note("unraisable", f"{found.exc_value!r} in {found.object!r}")
    threading.excepthook = lambda found: complaints.note("thread", f"{found.exc_value!r} in {found.thread}")
    written = patch.object(logging.Handler, "handleError", lambda _self, one: complaints.note("log", one.getMessage()))
    try:
        with written, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            yield complaints
            gc.collect()
        complaints.lines += [f"warning: {one.message}" for one in caught if one.category is ResourceWarning]
    finally:
        sys.unraisablehook, threading.excepthook = before
