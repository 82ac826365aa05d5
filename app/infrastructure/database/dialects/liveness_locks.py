"""Locks on files that the operating system drops when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class FileLivenessLocks:
    """One small file per name beside the database. Not for network file systems, as SQLite is not either."""

    def __init__(self, database: str) -> None:
        self._database = Path(database)
        self._held: dict[str, int] = {}

    def hold(self, name: str) -> None:
        """Hold the name until `release` or the end of this process; nothing happens if this process holds it."""
        if name in self._held:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._file(name), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody else holds it: then it is a sign of theirs, which is as good
            os.close(descriptor)
        else:
            self._held[name] = descriptor

    def release(self, name: str) -> None:
        """Let go and remove the file."""
        descriptor = self._held.pop(name, None)
        if descriptor is not None:
            self._file(name).unlink(missing_ok=True)
            os.close(descriptor)

    def is_held(self, name: str) -> bool:
        """True if a living process holds the name; the file of a dead one is removed."""
        try:
            descriptor = os.open(self._file(name), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        with contextlib.closing(os.fdopen(descriptor, "rb")):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            self._file(name).unlink(missing_ok=True)
            return False

    def close(self) -> None:
        """Let go of everything."""
        for name in tuple(self._held):
            self.release(name)

    def _file(self, name: str) -> Path:
        return self._database.with_name(f"{self._database.name}.{name}.alive")
