"""The ports for files of rows: read and written in bounded batches, never whole. Synchronous: call them in a thread."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What somebody says about a file; None and False leave it to be recognised.

    `columns` names those of a file without a header; `no_header` numbers them from 1.
    """

    delimiter: str | None = None
    encoding: str | None = None
    columns: tuple[str, ...] | None = None
    no_header: bool = False


@dataclass(slots=True)
class Findings:
    """What was recognised in a file: format, encoding, separator, line ends; `notes` are for people."""

    format: str = ""
    encoding: str | None = None
    separator: str | None = None
    line_end: str | None = None
    header: bool = True
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in a cell whose value cannot be read; the row is refused where the cell is needed."""

    reason: str


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that could not even be split into columns."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows of a file: `rows[i]` began in line `lines[i]` (1-based) and has its values in the order of `columns`.

    Values are text where the format knows nothing else, else what the format holds (numbers, datetimes, lists); a
    value that is not there is None.
    """

    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    lines: Sequence[int]
    broken: Sequence[BrokenRow] = ()


class RowReader(Protocol):
    """A file of rows. Raises InputError for a file that is not what its name says."""

    name: str
    findings: Findings
    """Complete when the last batch has been read."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[RowBatch]:
        """All rows in order, at most `size` in a batch."""

    @abstractmethod
    def fraction(self) -> float:
        """How much has been read, 0–1."""

    @abstractmethod
    def modified(self) -> float:
        """When the file was last changed, Unix seconds."""


class RowWriter(Protocol):
    """A file being written: it appears under its name, whole, when it is closed; not at all if it is dropped."""

    @abstractmethod
    def write(self, rows: Sequence[Sequence[object]]) -> None:
        """Append rows, values in the order of the columns the writer was opened with."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file and give it its name."""

    @abstractmethod
    def drop(self) -> None:
        """Throw away what was written. Does nothing after `close`."""
