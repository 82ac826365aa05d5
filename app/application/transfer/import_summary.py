"""What became of the rows of an import, and what was found in its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.files import BrokenRow, Findings, RowWriter

REJECT_COLUMNS = ("file", "line", "reason", "row")
_MAX_REJECT_CHARACTERS = 4_096


@dataclass(slots=True)
class ImportSummary:
    """Numbers of rows. `older`: something newer is stored; `left_out`: not asked for; `undated`: without a time.

    `used`: the column of each field; `others`: the columns that are none, which the catalog keeps as attributes.
    """

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    older: int = 0
    rejected: int = 0
    left_out: int = 0
    undated: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    used: dict[str, str] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)
    files: dict[str, Findings] = field(default_factory=dict)

    def add(self, other: ImportSummary) -> None:
        """Count another's rows too."""
        for name in ("read", "accepted", "duplicates", "older", "rejected", "left_out", "undated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons += other.reasons
        self.used |= other.used
        self.others |= other.others
        self.files |= other.files

    def saw(self, columns: Sequence[str], places: Mapping[str, int]) -> None:
        """Note which columns were used."""
        self.used |= {name: columns[place] for name, place in places.items()}
        taken = set(places.values())
        self.others |= {column: None for place, column in enumerate(columns) if place not in taken}

    @property
    def taken(self) -> int:
        """Rows that are in the database now, by this import or one before it."""
        return self.accepted + self.duplicates + self.older

    def rejected_share(self) -> float:
        """Rejected rows of those that were asked for, 0–1."""
        asked = self.read - self.left_out
        return self.rejected / asked if asked else 0.0


class Rejects:
    """Where rows go that are not taken: counted, and written down if there is a file for them."""

    def __init__(self, writer: RowWriter | None = None) -> None:
        self._writer = writer

    def take(self, tally: ImportSummary, file: str, rows: Sequence[BrokenRow]) -> None:
        """Count rows and write them down."""
        tally.rejected += len(rows)
        tally.reasons.update(row.reason for row in rows)
        if self._writer is not None and rows:
            self._writer.write([(file, row.line, row.reason, _printable(row.text)) for row in rows])


def _printable(text: str) -> str:
    """The beginning of a row, without what UTF-8 cannot hold."""
    return text[:_MAX_REJECT_CHARACTERS].encode("utf-8", "replace").decode()
