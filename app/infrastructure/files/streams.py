"""Bytes in and out: plain, gzip or zstd by suffix; lines of bounded length; files that appear whole or not at all."""

from __future__ import annotations

import gzip
import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, cast

from app.domain.exceptions import InputError

COMPRESSIONS = frozenset({".gz", ".zst"})
MAX_LINE_BYTES = 1_048_576  # a longer line is no row of ours, and reading on would fill the memory
_CHUNK_BYTES = 262_144


class InputStream:
    """A file being read. `fraction` follows the bytes on disk, also of a compressed one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._read = 0

    def fraction(self) -> float:
        return min(self._read / self._size, 1.0) if self._size else 0.0

    def lines(self) -> Iterator[str]:
        """Every line with its line feed. Text is UTF-8; a line that is not is taken for Latin-1, as in ML-1M."""
        with ExitStack() as stack:
            raw = stack.enter_context(self._path.open("rb"))
            self._size = os.fstat(raw.fileno()).st_size
            unpacked = stack.enter_context(_unpacked(raw, self._path.suffix.lower()))
            rest = b""
            first = True
            try:
                while chunk := unpacked.read(_CHUNK_BYTES):
                    self._read = raw.tell()
                    *whole, rest = (rest + chunk).split(b"\n")
                    if len(rest) > MAX_LINE_BYTES:
                        raise InputError(f"{self._path.name}: a line is longer than {MAX_LINE_BYTES:,} bytes", "file")
                    for line in whole:
                        yield _text(line, first) + "\n"
                        first = False
            except _damage_errors() as exc:
                raise InputError(f"{self._path.name}: the compressed file is damaged or cut off", "file") from exc
            if rest:
                yield _text(rest, first)


def _text(line: bytes, is_first: bool) -> str:
    if is_first and line.startswith(b"\xef\xbb\xbf"):
        line = line[3:]
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _unpacked(raw: IO[bytes], suffix: str) -> IO[bytes]:
    if suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if suffix == ".zst":
        return cast(IO[bytes], _zstandard().ZstdDecompressor().stream_reader(raw, read_across_frames=True))
    return raw


def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ModuleNotFoundError as exc:
        raise InputError("reading and writing .zst needs the extra `files`", "file") from exc
    return zstandard


def _damage_errors() -> tuple[type[Exception], ...]:
    """What the decompressors raise at bytes that are not theirs."""
    errors: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
    with suppress(InputError):
        errors += (cast(type[Exception], _zstandard().ZstdError),)
    return errors


class OutputFile:
    """A file under a temporary name beside its own, until `keep`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._stack = ExitStack()

    def open(self) -> IO[bytes]:
        """The stream to write to, compressing as the name says."""
        raw = self._stack.enter_context(self.temporary.open("wb"))
        match self._path.suffix.lower():
            case ".gz":  # a fixed time stamp: the same rows make the same file
                return cast(IO[bytes], self._stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0)))
            case ".zst":
                writer = _zstandard().ZstdCompressor().stream_writer(raw, closefd=False)
                return cast(IO[bytes], self._stack.enter_context(writer))
        return raw

    def keep(self) -> None:
        """Close the stream and give the file its name; on disk before it has it."""
        self._stack.close()
        with self.temporary.open("rb") as written:
            os.fsync(written.fileno())
        self.temporary.replace(self._path)

    def drop(self) -> None:
        """Remove what was written, if it was not kept."""
        with suppress(OSError):
            self._stack.close()
        self.temporary.unlink(missing_ok=True)
