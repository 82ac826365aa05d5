"""Bytes in and out: plain, gzip or zstd by suffix; lines of bounded length; files that appear whole or not at all."""

from __future__ import annotations

import gzip
import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import IO, cast

from app.domain.exceptions import InputError
from app.infrastructure.files.encodings import Encoding, LineDecoder, as_utf8, encoding_of
from app.infrastructure.private_files import make_private_file

COMPRESSIONS = frozenset({".gz", ".zst"})
MAX_LINE_BYTES = 1_048_576  # a longer line is no row of ours
_CHUNK_BYTES = 262_144


class InputStream:
    """A file being read. `fraction` follows the bytes on disk, also of a compressed one.

    `encoding`, `line_end` and `decoder` are there once a line has been read; `too_long` holds the numbers of lines
    that are longer than MAX_LINE_BYTES and come as empty ones.
    """

    encoding: Encoding
    decoder: LineDecoder

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.line_end = "LF"
        self.too_long: list[int] = []
        self._path = path
        self._given = encoding
        self._size = 0
        self._read = 0

    def fraction(self) -> float:
        return min(self._read / self._size, 1.0) if self._size else 0.0

    def lines(self) -> Iterator[str]:
        """Every line with a line feed at its end. Raises InputError for a compressed file that is damaged."""
        chunks = self.chunks()
        first = next(chunks, b"")
        self.line_end = "CR" if b"\n" not in first and b"\r" in first else "CRLF" if b"\r\n" in first else "LF"
        text = self.decoder.text
        for line in self._split(chain([first], chunks), b"\r" if self.line_end == "CR" else b"\n"):
            yield text(line) + "\n"

    def chunks(self) -> Iterator[bytes]:
        """The text in pieces of bytes, without a byte order mark: in its own encoding, or UTF-8 where lines need it."""
        raw = self._unpacked_chunks()
        first = next(raw, b"")
        self.encoding = encoding_of(first, self._given)
        self.decoder = LineDecoder(self.encoding)
        whole = chain([first[self.encoding.mark :]], raw)
        return whole if self.encoding.has_ascii_lines else as_utf8(whole, self.encoding)

    def _split(self, chunks: Iterator[bytes], end: bytes) -> Iterator[bytes]:
        rest, number, is_too_long = b"", 0, False
        for chunk in chunks:
            *whole, rest = (rest + chunk).split(end)
            for line in whole:
                number += 1
                if is_too_long or len(line) > MAX_LINE_BYTES:
                    self.too_long.append(number)
                    is_too_long, line = False, b""
                yield line
            if len(rest) > MAX_LINE_BYTES:  # reading on would fill the memory
                is_too_long, rest = True, b""
        if is_too_long:
            self.too_long.append(number + 1)
        elif rest:
            yield rest

    def _unpacked_chunks(self) -> Iterator[bytes]:
        with ExitStack() as stack:
            raw = stack.enter_context(self._path.open("rb"))
            self._size = os.fstat(raw.fileno()).st_size
            unpacked = stack.enter_context(_unpacked(raw, self._path.suffix.lower()))
            try:
                while chunk := unpacked.read(_CHUNK_BYTES):
                    self._read = raw.tell()
                    yield chunk
            except _damage_errors() as exc:
                raise InputError(f"{self._path.name}: the compressed file is damaged or cut off", "file") from exc


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
        make_private_file(self.temporary)  # exports say what people did; writers that open it by name keep its rights

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
