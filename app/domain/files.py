"""The ports for files of rows: read and written in bounded batches, never whole. Synchronous: call them in a thread."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


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
