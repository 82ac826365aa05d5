"""Artifacts in a folder: one file per key, written to a temporary name, flushed, then linked into place.

`link(2)` fails if the name exists, so a key is written once even by two processes at the same moment, and a crash at
any point leaves either nothing or the whole object (and perhaps a temporary file, swept at the next start).
Every path is walked with `O_NOFOLLOW` from the root's descriptor: a symbolic link inside the folder is never followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from app.domain.exceptions import (
    ArtifactDamagedError,
    ArtifactMissingError,
    ArtifactsUnavailableError,
    ConfigurationError,
    ObjectExistsError,
)
from app.domain.interfaces import ArtifactStore
from app.infrastructure.private_files import make_private_folder
from app.infrastructure.storage.keys import split_key
from app.infrastructure.uninterrupted import BlockingCalls

_Result = TypeVar("_Result")

_TEMPORARY = ".writing"
_STALE_SECONDS = 3_600.0
"""A temporary file this old belongs to a process that died: no write takes an hour."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: opening a FIFO somebody put there must not hang; regular files are unaffected."""
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


async def open_file_store(url: str, *, timeout_seconds: float = 30.0) -> ArtifactStore:
    """A `FileArtifactStore` on the folder of a `file:` URL (relative or absolute), which is created if missing."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
        raise ConfigurationError("ENCORE_ARTIFACTS_URL", "a file: URL is file:./relative or file:///absolute")
    store = FileArtifactStore(Path(unquote(parts.path)), timeout_seconds=timeout_seconds)
    await store.prepare()
    return store


class FileArtifactStore(ArtifactStore):
    """The `file:` adapter. Blocking calls run in a small pool of its own, each within `timeout_seconds`."""

    def __init__(self, root: Path, *, timeout_seconds: float) -> None:
        self._root = root.absolute()
        self._timeout = timeout_seconds
        self._calls = BlockingCalls(4, "artifacts")

    async def prepare(self) -> None:
        """Make the folder and sweep what crashed writers left behind."""
        await self._run(self._prepare)

    async def put(self, key: str, data: bytes) -> None:
        segments = split_key(key)
        await self._run(lambda: self._put(segments, data))

    async def get(self, key: str, max_bytes: int) -> bytes:
        segments = split_key(key)
        return await self._run(lambda: self._get(segments, max_bytes))

    async def list(self, prefix: str) -> Sequence[str]:
        return await self._run(lambda: sorted(key for key in self._keys() if key.startswith(prefix)))

    async def delete(self, key: str) -> None:
        segments = split_key(key)
        await self._run(lambda: self._delete(segments))

    async def ping(self) -> None:
        await self._run(self._ping)

    async def close(self) -> None:
        await self._calls.close(self._timeout)

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        """Run blocking work in the pool; the one place where operating system errors become ours."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._calls.run(work)
        except TimeoutError as error:
            raise ArtifactsUnavailableError("the artifact folder did not answer in time") from error
        except OSError as error:
            raise ArtifactsUnavailableError("the artifact folder cannot be used") from error

    def _prepare(self) -> None:
        make_private_folder(self._root / _TEMPORARY)
        with self._folder((), extra=_TEMPORARY) as folder:
            for entry in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS:
                        os.unlink(entry.name, dir_fd=folder)

    def _ping(self) -> None:
        """The folder is there and can be written to."""
        with self._folder((), extra=_TEMPORARY) as temporary:
            os.close(os.open(name := uuid4().hex, _WRITE, 0o600, dir_fd=temporary))
            os.unlink(name, dir_fd=temporary)

    def _put(self, segments: Sequence[str], data: bytes) -> None:
        with self._folder((), extra=_TEMPORARY) as temporary, self._folder(segments[:-1], create=True) as folder:
            name = uuid4().hex
            try:
                _write_flushed(temporary, name, data)
                os.link(name, segments[-1], src_dir_fd=temporary, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError as error:
                raise ObjectExistsError("the key is already written") from error
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=temporary)
            os.fsync(folder)

    def _get(self, segments: Sequence[str], max_bytes: int) -> bytes:
        try:
            with self._folder(segments[:-1]) as folder:
                descriptor = os.open(segments[-1], _READ, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ArtifactMissingError("a part of the artifact is missing") from error
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise ArtifactDamagedError(segments[-1], "a symbolic link") from error
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ArtifactDamagedError(segments[-1], "not a regular file")
            # Read one byte more than allowed: the file may have grown since it was measured.
            data = b"" if facts.st_size > max_bytes else file.read(max_bytes + 1)
        if facts.st_size > max_bytes or len(data) > max_bytes:
            raise ArtifactDamagedError(segments[-1], "larger than allowed")
        return data

    def _delete(self, segments: Sequence[str]) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            with self._folder(segments[:-1]) as folder:
                os.unlink(segments[-1], dir_fd=folder)
            # The folder of a version goes with its last file; any other folder is not empty and stays.
            with contextlib.suppress(OSError), self._folder(segments[:-2]) as parent:
                os.rmdir(segments[-2], dir_fd=parent)

    def _keys(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self._root, followlinks=False):
            folders[:] = [name for name in folders if not name.startswith(".")]
            where = Path(folder).relative_to(self._root)
            yield from ((where / name).as_posix() for name in files if not name.startswith("."))

    @contextlib.contextmanager
    def _folder(self, segments: Sequence[str], *, create: bool = False, extra: str | None = None) -> Iterator[int]:
        """A descriptor of a folder below the root, reached without following any symbolic link on the way."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for segment in (*segments, *([extra] if extra else [])):
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(segment, 0o700, dir_fd=descriptor)
                        os.fsync(descriptor)
                deeper = os.open(segment, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
            yield descriptor
        finally:
            os.close(descriptor)


def _write_flushed(folder: int, name: str, data: bytes) -> None:
    with os.fdopen(os.open(name, _WRITE, 0o600, dir_fd=folder), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
