"""From the lines of a delimited file to its rows, a block of lines at a time, damage in one row left in that row."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from app.domain.files import BrokenRow

MISSING = frozenset({"NaN", "nan", "NAN", "NULL", "null", "Null", "\\N", "NaT", "<NA>"})
"""What databases and data frames write for nothing."""

_MAX_RECORD_CHARACTERS = 1_048_576  # a quote that never ends must not swallow the rest of the file
_FORGIVING = frozenset({"\t", "|"})  # where a quote that does not fit is only a quote
Row = Sequence[str | None]
Block = tuple[list[Row], list[int], list[BrokenRow]]


class Records:
    """The rows of `lines`; a quoted cell may go over several of them."""

    def __init__(self, lines: Iterator[str], delimiter: str, *, has_spaces: bool, skipped: int = 0) -> None:
        self._lines = lines
        self._back: deque[str] = deque()
        self._number = skipped
        self._delimiter = delimiter
        self._has_spaces = has_spaces

    def header(self) -> Sequence[str] | None:
        """The first record that is not empty. Raises csv.Error if it is none."""
        for line in self._upcoming():
            if line.strip():
                self._back.appendleft(line)
                self._number -= 1
                return self._whole_record()[0]
        return None

    def take(self, size: int, width: int) -> Block | None:
        """The records that begin in the next `size` lines: (rows, where they begin, broken ones); None at the end."""
        block = list(islice(self._upcoming(), size))
        if not block:
            return None
        first = self._number - len(block) + 1
        rows = self._quick(block, width)
        if rows is not None:
            return _filled(rows, range(first, first + len(rows)))
        self._back.extendleft(reversed(block))
        self._number -= len(block)
        return self._careful(first + len(block), width)

    def _upcoming(self) -> Iterator[str]:
        while self._back:
            self._number += 1
            yield self._back.popleft()
        for line in self._lines:
            self._number += 1
            yield line

    def _quick(self, block: list[str], width: int) -> list[list[str]] | None:
        """The rows, if each line is one record of the right width, or empty."""
        if self._delimiter == "::":
            rows = [line.rstrip("\r\n").split("::") for line in block]
        else:
            try:
                rows = list(self._reader(iter(block)))
            except csv.Error:
                return None
        if len(rows) != len(block) or {len(row) for row in rows} - {width, 0}:
            return None
        return rows

    def _reader(self, lines: Iterator[str], **dialect: object) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._delimiter, skipinitialspace=self._has_spaces, strict=True, **dialect)  # type: ignore[arg-type]  # options as csv takes them

    def _careful(self, stop: int, width: int) -> Block:
        rows, numbers, broken = list[Row](), list[int](), list[BrokenRow]()
        while self._number + 1 < stop:
            number, found = self._one(width)
            if isinstance(found, BrokenRow):
                broken.append(found)
            elif found:
                rows.append(found)
                numbers.append(number)
        good, lines, _ = _filled(rows, numbers)
        return good, lines, broken

    def _one(self, width: int) -> tuple[int, Row | BrokenRow]:
        number = self._number + 1
        try:
            row, lines = self._whole_record()
        except csv.Error:
            return number, self._damaged(number, width)
        if len(row) > width and not any(row[width:]):
            row = row[:width]  # separators at the end of the line
        if len(row) == width or row in ([], [""]):
            return number, row if len(row) == width else ()
        literal = lines[0].rstrip("\r\n").split(self._delimiter)
        if self._delimiter in _FORGIVING and len(literal) == width:
            self._give_back(lines[1:])
            return number, literal
        return number, BrokenRow(number, f"{len(row)} columns instead of {width}", "".join(lines).rstrip("\r\n"))

    def _whole_record(self, **dialect: object) -> tuple[list[str], list[str]]:
        """(cells, lines) of the next record. Raises csv.Error, with nothing taken."""
        taken = list[str]()
        if self._delimiter == "::":
            taken.append(next(self._upcoming()))
            return taken[0].rstrip("\r\n").split("::"), taken
        try:
            return next(self._reader(self._recorded(taken), **dialect)), taken
        except csv.Error:
            self._give_back(taken)
            raise

    def _recorded(self, taken: list[str]) -> Iterator[str]:
        characters = 0
        for line in self._upcoming():
            taken.append(line)
            yield line
            characters += len(line)
            if characters > _MAX_RECORD_CHARACTERS:
                return

    def _give_back(self, lines: Sequence[str]) -> None:
        self._back.extendleft(reversed(lines))
        self._number -= len(lines)

    def _damaged(self, number: int, width: int) -> Row | BrokenRow:
        """What can be saved of a record whose quotes do not fit; at most its first line is lost."""
        row = self._with_backslashes(width)
        if row is not None:
            return row
        line = next(self._upcoming())
        literal = line.rstrip("\r\n").split(self._delimiter)
        if self._delimiter in _FORGIVING and len(literal) == width:
            return literal
        return BrokenRow(number, "not CSV", line.rstrip("\r\n"))

    def _with_backslashes(self, width: int) -> list[str] | None:
        r"""The record read with `\"` for a quote in a quoted cell, as MySQL writes it."""
        line = next(self._upcoming())
        self._give_back([line])
        if '\\"' not in line:
            return None
        try:
            row, lines = self._whole_record(escapechar="\\", doublequote=False)
        except csv.Error:
            return None
        if len(row) != width:
            self._give_back(lines)
            return None
        return row


def _filled(rows: Sequence[Row], numbers: Sequence[int]) -> Block:
    """Without empty rows, and with None for what stands for nothing."""
    if (
        not all(rows)
        or [
            "",
        ]
        in rows
    ):
        kept = [(row, number) for row, number in zip(rows, numbers, strict=True) if row and row != [""]]
        rows, numbers = [row for row, _ in kept], [number for _, number in kept]
    filled = [
        row if MISSING.isdisjoint(row) else [None if cell in MISSING else cell for cell in row]  # None is not missing
        for row in rows
    ]
    return filled, list(numbers), []
