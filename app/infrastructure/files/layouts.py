"""How a delimited file is laid out, by its first lines: separator, spaces after it, header or none."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.exceptions import InputError
from app.domain.files import ReadOptions

SAMPLE_LINES = 64
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", "::": "::", " ": "space"}
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_CANDIDATES = ("::", ",", "\t", ";", "|")
_FIRST_OF = {".dat": "::", ".tsv": "\t", ".inter": "\t", ".item": "\t", ".user": "\t", ".csv": ","}
_SEP_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # what Excel writes above the header
_TYPED = re.compile(r"(.+):(?:token|token_seq|float|float_seq)")  # RecBole's `name:type`
_SMALLEST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Layout:
    """`skip`: lines above the header or the first row. `columns` names those of a file without a header."""

    delimiter: str
    has_spaces: bool
    skip: int
    columns: tuple[str, ...] | None


def delimiter_of(text: str) -> str:
    """A delimiter as somebody writes it: one character, `::`, or a word such as `tab`. Raises InputError for others."""
    found = _WORDS.get(text.lower(), text)
    if found != "::" and (len(found) != 1 or found in '"\r\n\0'):
        raise InputError("--delimiter is one character, :: or one of tab, comma, semicolon, pipe, space")
    return found


def layout_of(head: Sequence[str], suffix: str, options: ReadOptions, usual: Sequence[str] | None) -> Layout:
    """The layout of a file with these first lines; `usual` names the columns if the file turns out to have no header.

    Raises InputError for a file without a line, and for names that are not as many as the columns.
    """
    skip = 0
    delimiter = options.delimiter
    if head and delimiter is None and (found := _SEP_LINE.fullmatch(head[0])):
        delimiter, skip = found[1], 1
    lines = [line for line in head[skip:] if line.strip()]
    if not lines:
        raise InputError("the file is empty", "file")
    delimiter = delimiter or _recognised(lines, suffix)
    first = cells_of(lines[0], delimiter)
    return Layout(delimiter, _has_spaces(lines, delimiter), skip, _columns(first, suffix, options, usual))


def _recognised(lines: Sequence[str], suffix: str) -> str:
    preferred = _FIRST_OF.get(suffix)
    order = sorted(_CANDIDATES, key=lambda one: one != preferred)
    shares = {one: _share(lines, one) for one in order}
    # of several that are as good the one that the name promises, then the one that makes most columns
    best = max(order, key=lambda one: (shares[one], one == preferred, len(cells_of(lines[0], one))))
    if shares[best] >= _SMALLEST_SHARE:
        return best
    if suffix != ".csv" and _share(lines, " ") == 1.0:
        return " "
    return preferred or ","


def _share(lines: Sequence[str], delimiter: str) -> float:
    """The share of lines that fall into as many columns as the first; 0 if that is one."""
    widths = [len(row) for row in _rows(lines, delimiter)]
    return widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0.0


def _rows(lines: Sequence[str], delimiter: str) -> Sequence[Sequence[str]]:
    if delimiter == "::":
        return [line.rstrip("\r\n").split("::") for line in lines]
    try:
        return list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        return [line.rstrip("\r\n").split(delimiter) for line in lines]


def cells_of(line: str, delimiter: str) -> Sequence[str]:
    """The cells of one line."""
    return _rows([line], delimiter)[0]


def _has_spaces(lines: Sequence[str], delimiter: str) -> bool:
    """Whether a space after each separator belongs to it: `user_id, item_id, value`."""
    if delimiter in {" ", "::"}:
        return False
    first = lines[0].rstrip("\r\n").split(delimiter)[1:]
    return bool(first) and all(cell.startswith(" ") for cell in first)


def _columns(
    first: Sequence[str], suffix: str, options: ReadOptions, usual: Sequence[str] | None
) -> tuple[str, ...] | None:
    if options.columns is not None:
        if len(options.columns) != len(first):
            raise InputError(f"the first row has {len(first)} columns, --columns names {len(options.columns)}")
        return options.columns
    if options.no_header:
        return tuple(str(place) for place in range(1, len(first) + 1))
    if usual and any(is_number(cell) for cell in first) and not any(cell.strip() in usual for cell in first):
        return _named(usual, len(first))
    if suffix == ".dat" and all(is_number(cell) for cell in first):
        raise InputError(
            "the file has no header: --columns names its columns; a folder goes in with `import movielens`"
        )
    return None


def _named(names: Sequence[str], width: int) -> tuple[str, ...]:
    return (*names[:width], *(str(place) for place in range(len(names) + 1, width + 1)))


def header_of(cells: Sequence[str], suffix: str) -> tuple[str, ...]:
    """The names in a header line; one without a name is called by its place. Raises InputError for a name twice."""
    names = [cell.strip() for cell in cells]
    if suffix in {".inter", ".item", ".user"}:
        names = [typed[1] if (typed := _TYPED.fullmatch(name)) else name for name in names]
    columns = tuple(name or f"column {place}" for place, name in enumerate(names, start=1))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise InputError(f"a column is named twice: {', '.join(twice)[:200]}", "file")
    return columns


def is_number(cell: str) -> bool:
    """Whether a cell holds a number: then its line is no header."""
    return cell.strip().lstrip("+-").replace(".", "", 1).isdigit()
