"""What a test gets: an address and, if we started the server ourselves, the means to freeze, kill and restart it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.servers.process import ServerProcess

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """`process` is None when the address came from the environment or a container; `stop` is safe to call twice."""

    name: str
    url: str
    origin: str
    process: ServerProcess | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    stop: Callable[[], None] = lambda: None

    @property
    def control(self) -> ServerProcess:
        """pause, resume, kill, restart: only for a server of our own."""
        assert self.process is not None, f"{self.name} comes from {self.origin}: it is not ours to break"
        return self.process


def own(process: ServerProcess, url: str, environment: Mapping[str, str] | None = None) -> Server:
    """Start `process` and hand it over; its folder goes when it stops."""

    def stop() -> None:
        process.stop()
        shutil.rmtree(process.folder, ignore_errors=True)

    try:
        process.start()
    except BaseException:
        stop()
        raise
    return Server(process.name, url, "a process", process, environment or {}, stop)


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from plain code, in a thread of its own: the caller's thread may belong to a test's loop."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as exc:  # noqa: BLE001 - carried over to the caller's thread and raised there
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
