"""JSON lines, or one JSON array: one object a row."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from app.domain.exceptions import InputError
from app.domain.files import BrokenRow, Findings, ReadOptions, RowBatch, RowReader
from app.infrastructure.files.delimited import fallback_notes
from app.infrastructure.files.streams import MAX_LINE_BYTES, InputStream

_LONG_NUMBER = re.compile(r"[0-9]{19}")
"""msgspec makes a whole number of more than 64 bits a floating one, and two ids become one."""
_PYTHON = re.compile(r"\s*\{\s*u?'")
_MAX_PYTHON_CHARACTERS, _MAX_DEPTH = 65_536, 50
_NEXT_OBJECT = re.compile(r"\}\s*,\s*(?=\{)")
_NOT_BETWEEN = re.compile(r"[^\s,]")
_decode = msgspec.json.Decoder().decode
Text = tuple[int, str | None]
"""(number, text) of a row; None for one that is too long."""


class JsonReader(RowReader):
    """RowReader on JSON lines or an array of objects. The columns of a batch are the keys that its objects have.

    The "line" of an element of an array is its place in it. Lines as Python prints a dictionary are read too.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.name = path.name
        self.findings = Findings("JSON lines", header=False)
        self._path = path
        self._stream = InputStream(path, options.encoding)

    def fraction(self) -> float:
        return self._stream.fraction()

    def modified(self) -> float:
        return self._path.stat().st_mtime

    def batches(self, size: int) -> Iterator[RowBatch]:
        texts = self._texts()
        while chunk := list(islice(texts, size)):
            self.findings.encoding = self._stream.encoding.name
            yield _batch(chunk)
        self.findings.notes.extend(fallback_notes(self._stream))

    def _texts(self) -> Iterator[Text]:
        lines = self._stream.lines()
        first = list[str]()
        for line in lines:
            first.append(line)
            if line.strip():
                break
        is_array = bool(first) and first[-1].lstrip().startswith("[") and _is_open(first[-1])
        if is_array or self._stream.too_long:
            lines.close()  # type: ignore[attr-defined]  # it is a generator
            self.findings.format = "a JSON array"
            yield from _elements(self._pieces(), self.name)
            return
        yield from enumerate(first, start=1)
        for number, line in enumerate(lines, start=len(first) + 1):
            yield number, (None if self._stream.too_long and self._stream.too_long.pop() else line)

    def _pieces(self) -> Iterator[str]:
        """The text of an array in bounded pieces, cut where no character is: it may all be one line."""
        rest = b""
        for chunk in self._stream.chunks():
            piece = rest + chunk
            cut = max(piece.rfind(b"}"), piece.rfind(b"]")) + 1
            rest = piece[cut:]
            if len(rest) > MAX_LINE_BYTES:
                raise InputError(f"{self.name}: no object of the array ends within {MAX_LINE_BYTES:,} bytes", "file")
            if cut:
                yield self._text(piece[:cut])
        if rest:
            yield self._text(rest)

    def _text(self, piece: bytes) -> str:
        """Object by object, so that a letter in another encoding costs the others nothing."""
        return "}".join(map(self._stream.decoder.text, piece.split(b"}")))


def _is_open(line: str) -> bool:
    """Whether the first line begins an array of objects, or is an empty one; `[1]` is a row that is none."""
    rest = line.strip()[1:].lstrip()
    return rest[:1] in {"", "{"} or rest == "]"


def _elements(pieces: Iterator[str], name: str) -> Iterator[Text]:
    """The objects of an array; from one that is damaged to the next that begins is one broken row."""
    scan = json.JSONDecoder().raw_decode
    buffer, place, number = next(pieces, "").lstrip(), 1, 0
    if not buffer.startswith("["):
        raise InputError(f"{name}: the first line is longer than {MAX_LINE_BYTES:,} bytes: is this JSON?", "file")
    while True:
        found = _NOT_BETWEEN.search(buffer, place)
        if found is None or buffer[found.start()] == "]":
            more = next(pieces, None)
            if more is None:
                if found is None:
                    raise InputError(f"{name}: the array does not end: the file is cut off", "file")
                return
            buffer, place = buffer[place:] + more, 0
            continue
        place = found.start()
        try:
            _, end = scan(buffer, place)
        except (ValueError, RecursionError):
            more = next(pieces, None) if len(buffer) - place <= MAX_LINE_BYTES else None
            if more is not None and _NEXT_OBJECT.search(buffer, place) is None:
                buffer, place = buffer[place:] + more, 0
                continue
            if more is not None:
                buffer, place = buffer[place:] + more, 0
            following = _NEXT_OBJECT.search(buffer, place)
            end = len(buffer) if following is None else following.end()
        number += 1
        yield number, buffer[place:end].rstrip(" ,\r\n\t")
        place = end


def _batch(chunk: Sequence[Text]) -> RowBatch:
    objects, numbers, broken = list[dict[str, object]](), list[int](), list[BrokenRow]()
    for number, line in chunk:
        if line is None:
            broken.append(BrokenRow(number, f"longer than {MAX_LINE_BYTES:,} bytes", ""))
            continue
        if not line.strip():
            continue
        try:
            found = _parsed(line)
        except (ValueError, RecursionError, MemoryError, SyntaxError, TypeError):
            broken.append(BrokenRow(number, "not JSON", line))
            continue
        if isinstance(found, dict) and all(isinstance(name, str) for name in found):
            objects.append(found)
            numbers.append(number)
        else:
            broken.append(BrokenRow(number, "not a JSON object", line))
    columns = tuple(dict.fromkeys(name for one in objects for name in one))
    return RowBatch(columns, [[one.get(name) for name in columns] for one in objects], numbers, broken)


def _parsed(line: str) -> object:
    """What the line says. Raises ValueError and its relatives if it is neither JSON nor a dictionary of Python."""
    if _LONG_NUMBER.search(line) is None:
        try:
            return _decode(line)
        except (msgspec.DecodeError, UnicodeEncodeError):
            pass  # NaN, which data frames write, a lone surrogate, or no JSON at all
    try:
        return _nothing_for_nan(json.loads(line))
    except ValueError:
        if _PYTHON.match(line) is None or len(line) > _MAX_PYTHON_CHARACTERS or _depth(line) > _MAX_DEPTH:
            raise
        return ast.literal_eval(line.strip())


def _depth(text: str) -> int:
    return max(text.count(bracket) for bracket in "[({")


def _nothing_for_nan(value: object) -> object:
    if isinstance(value, dict):
        return {name: None if isinstance(cell, float) and math.isnan(cell) else cell for name, cell in value.items()}
    return value
