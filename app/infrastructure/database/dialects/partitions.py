"""The monthly partitions of `interactions`: made before rows need them, and some months ahead."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

AHEAD_MONTHS = 3
_FIRST_MONTH = 1970 * 12
_LATEST_AHEAD = 12  # rows dated later than a year from now go to the default partition, which is watched
_EXISTING = sa.text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = CAST('features.interactions' AS regclass)"
)
_IN_DEFAULT = sa.text(
    "SELECT EXISTS (SELECT FROM features.interactions_default WHERE occurred_at >= :first AND occurred_at < :next)"
)

Month = int
"""Months since year 0: `year * 12 + month - 1`."""


class Months:
    """Remembers which months have a partition, so that an ingest asks the database only about new ones."""

    def __init__(self) -> None:
        self._known: set[Month] = set()

    def missing(self, moments: Iterable[datetime]) -> Collection[Month]:
        """The months of these moments that may have none yet; with the present one come those ahead of it."""
        wanted = {moment.year * 12 + moment.month - 1 for moment in moments}
        if wanted <= self._known:
            return ()
        now = datetime.now(UTC)
        present = now.year * 12 + now.month - 1
        if wanted and max(wanted) >= present:
            wanted |= set(range(present, present + AHEAD_MONTHS + 1))
        self._known |= {month for month in wanted if not _FIRST_MONTH <= month <= present + _LATEST_AHEAD}
        return sorted(wanted - self._known)

    async def create(self, connection: AsyncConnection, months: Collection[Month]) -> None:
        """Make the partitions that are missing, in the caller's transaction."""
        existing = set((await connection.execute(_EXISTING)).scalars())
        for month in months:
            if partition_name(month) not in existing:
                await _create(connection, month)
        self._known |= set(months)


def partition_name(month: Month) -> str:
    """`interactions_202603` for March 2026."""
    return f"interactions_{month // 12:04d}{month % 12 + 1:02d}"


def _start(month: Month) -> datetime:
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


async def _create(connection: AsyncConnection, month: Month) -> None:
    """Made aside and then attached: that locks the parent less than CREATE … PARTITION OF does."""
    first, after = _start(month), _start(month + 1)
    if (await connection.execute(_IN_DEFAULT, {"first": first, "next": after})).scalar_one():
        return  # rows of this month are in the default partition already; an operator has to move them
    name = partition_name(month)
    await connection.execute(
        sa.text(f"CREATE TABLE features.{name} (LIKE features.interactions INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    )
    await connection.execute(
        sa.text(
            f"ALTER TABLE features.interactions ATTACH PARTITION features.{name}"
            f" FOR VALUES FROM ('{first.isoformat()}') TO ('{after.isoformat()}')"
        )
    )
