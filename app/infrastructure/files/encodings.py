"""Which encoding the bytes of a file are in, and how its lines become text.

UTF-8 is expected; a byte order mark, or the zeros of UTF-16 without one, say otherwise. A line that is not UTF-8 is
read as Windows-1252 (https://encoding.spec.whatwg.org/#windows-1252), of which Latin-1 is the printable part, and
counted. An encoding that somebody named is not guessed at: what is not in it makes its row unreadable.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from app.domain.exceptions import InputError

FALLBACK = "cp1252"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 4_096
_UNICODE = frozenset({"utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"})


@dataclass(frozen=True, slots=True)
class Encoding:
    """`mark` bytes at the beginning are none of the text; `is_given`: somebody named it."""

    name: str
    mark: int = 0
    is_given: bool = False

    @property
    def has_ascii_lines(self) -> bool:
        """Whether the byte of a line feed is always a line feed, so that lines can be split before they are decoded."""
        return self.name not in _UNICODE and "\r\n".encode(self.name) == b"\r\n"


def encoding_of(first: bytes, given: str | None) -> Encoding:
    """The encoding of a file that begins with these bytes. Raises InputError for a name that nobody knows."""
    marked = next(((name, len(mark)) for mark, name in _MARKS if first.startswith(mark)), None)
    if given is not None:
        name = known_encoding(given)
        return Encoding(*_with_mark(name, marked), is_given=True)
    if marked is not None:
        return Encoding(*marked)
    return Encoding(_by_zeros(first[:_SAMPLE_BYTES]) or "utf-8")


def known_encoding(name: str) -> str:
    """The name as Python writes it. Raises InputError for one that nobody knows, or that is no text encoding."""
    try:
        found = codecs.lookup(name)
        "\n".encode(found.name)
    except (LookupError, ValueError, TypeError) as exc:
        raise InputError(
            "--encoding: nobody knows this encoding; examples: utf-8, utf-16, cp1252, cp1251, shift_jis"
        ) from exc
    return {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(found.name, found.name)


def _with_mark(name: str, marked: tuple[str, int] | None) -> tuple[str, int]:
    """The mark is passed over if it is one of this encoding; it decides between the two orders of bytes."""
    if marked is None or marked[0][:6] != name[:6]:
        return name, 0
    return marked


def _by_zeros(sample: bytes) -> str | None:
    """UTF-16 without a mark: in text of Western letters every second byte is zero."""
    half = len(sample) // 2
    if half < 4:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > half * 0.4 and even < half * 0.05:
        return "utf-16-le"
    if even > half * 0.4 and odd < half * 0.05:
        return "utf-16-be"
    return None


def as_utf8(chunks: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    """The same text in UTF-8. What is damaged becomes bytes that are no UTF-8, so that only its row suffers."""
    errors = "surrogatepass" if encoding.name in _UNICODE else "replace"
    decoder = codecs.getincrementaldecoder(encoding.name)(errors)
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    try:
        yield decoder.decode(b"", True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        yield b"\xff"  # half a character at the end


class LineDecoder:
    """Lines of bytes to text. `fallbacks` counts those that were not in the encoding that was taken for granted."""

    def __init__(self, encoding: Encoding) -> None:
        self.fallbacks = 0
        self._name = encoding.name if encoding.has_ascii_lines else "utf-8"
        self._is_strict = encoding.is_given or not encoding.has_ascii_lines

    def text(self, line: bytes) -> str:
        """The line as text; lone surrogates, which nobody stores, where a named encoding does not fit."""
        try:
            return line.decode(self._name)
        except UnicodeDecodeError:
            if self._is_strict:
                return line.decode("utf-8" if self._name == "utf-8" else "ascii", "surrogateescape")
        self.fallbacks += 1
        try:
            return line.decode(FALLBACK)
        except UnicodeDecodeError:  # five bytes mean nothing there
            return line.decode("latin-1")
