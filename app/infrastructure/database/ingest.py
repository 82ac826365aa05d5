"""One batch, one transaction: fence, put down, claim identities, add what is new, merge the state, judge repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.entities import DeadLetter, IngestOutcome, IngestResult, Interaction, OutboxMessage, SourceOffset
from app.domain.exceptions import StaleTokenError
from app.domain.stores import IngestBatch
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.dead_letters import insert_letters
from app.infrastructure.database.dialects import Dialect
from app.infrastructure.database.erased_names import spared
from app.infrastructure.database.imports import note_batch
from app.infrastructure.database.ingest_sql import IngestSql, build
from app.infrastructure.database.outbox import insert_messages
from app.infrastructure.database.staged_columns import moments_of, staged_columns, users_of
from app.infrastructure.database.tables import consumer_offsets


class Ingest:
    """The use of IngestSql; one for all batches."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._sql: IngestSql = build(connections.dialect)

    async def run(self, batch: IngestBatch) -> IngestResult:
        """See InteractionStore.ingest."""
        events = batch.interactions
        await self._connections.prepare_months(moments_of(events))
        async with self._connections.write() as connection:
            for before, offset in sorted(batch.offsets, key=lambda pair: (pair[1].topic, pair[1].partition)):
                await _fence(connection, self._connections.dialect, before, offset)
            repeats = await self._take_in(connection, events) if events else {}
            if batch.import_id is not None:
                await note_batch(connection, batch.import_id, len(events) - len(repeats))
            dialect = self._connections.dialect
            letters, messages = await spared(connection, dialect, *_also(batch, repeats))
            await insert_letters(connection, letters)
            await insert_messages(connection, messages)
        outcomes = [IngestOutcome.ACCEPTED] * len(events)
        for position, outcome in repeats.items():
            outcomes[position] = outcome
        return IngestResult(tuple(outcomes), users_of(events, repeats))

    async def _take_in(self, connection: AsyncConnection, events: Sequence[Interaction]) -> dict[int, IngestOutcome]:
        """Write what is new; the outcomes of what is not, by position."""
        columns = staged_columns(events, self._connections.dialect)
        await self._connections.dialect.stage(connection, columns)
        await self._connections.dialect.keep_users(connection)
        erased = (await connection.execute(self._sql.drop_erased)).scalars()
        outcomes = dict.fromkeys(erased, IngestOutcome.TOMBSTONED)
        claimed = (await connection.execute(self._sql.claim_ids)).rowcount
        has_repeats = claimed + len(outcomes) < len(events)
        if has_repeats:
            await connection.execute(self._sql.set_aside)
            await connection.execute(self._sql.drop_set_aside)
        if claimed:
            await self._add_new(connection, is_crowded=False in columns["is_alone"])
        return outcomes | await self._judge_repeats(connection) if has_repeats else outcomes

    async def _add_new(self, connection: AsyncConnection, *, is_crowded: bool) -> None:
        await connection.execute(self._sql.resolve)
        users, items = (await connection.execute(self._sql.count_unknown)).one()
        if users:
            await connection.execute(self._sql.add_users)
            await connection.execute(self._sql.find_users)
        if items:
            await connection.execute(self._sql.add_items)
            await connection.execute(self._sql.find_items)
        await connection.execute(self._sql.add_interactions)
        await connection.execute(self._sql.merge_all if is_crowded else self._sql.merge_alone)

    async def _judge_repeats(self, connection: AsyncConnection) -> dict[int, IngestOutcome]:
        rows = await connection.execute(self._sql.verdicts)
        return {position: IngestOutcome.DUPLICATE if same else IngestOutcome.CONFLICT for position, same in rows}


def _also(
    batch: IngestBatch, repeats: Mapping[int, IngestOutcome]
) -> tuple[Sequence[DeadLetter], Sequence[OutboxMessage]]:
    """The batch's own letters and messages, and those that its conflicts ask for."""
    letters, messages = list(batch.dead_letters), list(batch.messages)
    if batch.on_conflict is not None:
        for position in sorted(position for position, outcome in repeats.items() if outcome is IngestOutcome.CONFLICT):
            letter, its_messages = batch.on_conflict(position)
            if letter is not None:
                letters.append(letter)
            messages.extend(its_messages)
    return letters, messages


async def _fence(connection: AsyncConnection, dialect: Dialect, before: int, offset: SourceOffset) -> None:
    """Move one partition's offset from `before` on, or raise. First in the transaction: it also locks the row."""
    here = (consumer_offsets.c.topic == offset.topic) & (consumer_offsets.c.partition == offset.partition)
    values = {"next_offset": offset.next_offset, "epoch": offset.epoch}
    move = sa.update(consumer_offsets).where(here, consumer_offsets.c.next_offset == before).values(values)
    if (await connection.execute(move)).rowcount:
        return
    insert = dialect.insert(consumer_offsets).values(topic=offset.topic, partition=offset.partition, **values)
    if before or not (await connection.execute(insert.on_conflict_do_nothing())).rowcount:
        raise StaleTokenError("another consumer has moved this partition's offset")
