"""One batch, one transaction: fence, put down, claim identities, add what is new, merge the state, judge repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.exceptions import DatabaseUnavailableError, StaleTokenError
from app.domain.models import KINDS, DeadLetter, IngestResult, Interaction, Kind, OutboxMessage, Outcome, SourceOffset
from app.domain.stores import IngestBatch
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.dead_letters import insert_letters
from app.infrastructure.database.dialects import Dialect, StagedRow
from app.infrastructure.database.ingest_sql import IngestSql, build
from app.infrastructure.database.outbox import insert_messages
from app.infrastructure.database.tables import consumer_offsets

KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}
_SLOTS = {**KIND_CODES, Kind.DISLIKE: KIND_CODES[Kind.LIKE]}  # like and dislike are one state: the newest decides
_HOLD_ATTEMPTS = 3


def strength(event: Interaction) -> float:
    """What `peak` is the maximum of: the watched ratio (0–1) for watch, else the value, 1.0 where there is none."""
    if event.value is None:
        return 1.0
    if event.kind is not Kind.WATCH:
        return event.value
    return min(event.value / event.duration, 1.0) if event.duration else 1.0


class Ingest:
    """The use of IngestSql; one for all batches."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._sql: IngestSql = build(connections.dialect)

    async def run(self, batch: IngestBatch) -> IngestResult:
        """See InteractionStore.ingest."""
        events = batch.interactions
        await self._connections.prepare_months(event.occurred_at for event in events)
        async with self._connections.write() as connection:
            for before, offset in sorted(batch.offsets, key=lambda pair: (pair[1].topic, pair[1].partition)):
                await _fence(connection, self._connections.dialect, before, offset)
            repeats = await self._take_in(connection, events) if events else {}
            letters, messages = _also(batch, repeats)
            await insert_letters(connection, letters)
            await insert_messages(connection, messages)
        outcomes = [Outcome.ACCEPTED] * len(events)
        for position, outcome in repeats.items():
            outcomes[position] = outcome
        touched = frozenset(event.user_id for position, event in enumerate(events) if position not in repeats)
        return IngestResult(tuple(outcomes), touched)

    async def _take_in(self, connection: AsyncConnection, events: Sequence[Interaction]) -> dict[int, Outcome]:
        """Write what is new; the outcomes of what is not, by position."""
        await self._connections.dialect.stage(connection, _rows(events, self._connections.dialect))
        claimed = (await connection.execute(self._sql.claim_ids)).rowcount
        if claimed < len(events):
            await connection.execute(self._sql.set_aside)
            await connection.execute(self._sql.drop_set_aside)
        if claimed:
            await self._add_new(connection)
        return await self._judge_repeats(connection) if claimed < len(events) else {}

    async def _add_new(self, connection: AsyncConnection) -> None:
        for _ in range(_HOLD_ATTEMPTS):  # a user may be erased between being added and being held
            await connection.execute(self._sql.add_users)
            if await self._connections.dialect.hold_users(connection):
                break
        else:
            raise DatabaseUnavailableError("users of this batch are being erased right now")
        await connection.execute(self._sql.add_items)
        await connection.execute(self._sql.resolve)
        await connection.execute(self._sql.add_interactions)
        await connection.execute(self._sql.merge_alone)
        await connection.execute(self._sql.merge_crowded)

    async def _judge_repeats(self, connection: AsyncConnection) -> dict[int, Outcome]:
        rows = await connection.execute(self._sql.verdicts)
        return {position: Outcome.DUPLICATE if same else Outcome.CONFLICT for position, same in rows}


def _also(batch: IngestBatch, repeats: Mapping[int, Outcome]) -> tuple[Sequence[DeadLetter], Sequence[OutboxMessage]]:
    """The batch's own letters and messages, and those that its conflicts ask for."""
    letters, messages = list(batch.dead_letters), list(batch.messages)
    if batch.on_conflict is not None:
        for position in sorted(position for position, outcome in repeats.items() if outcome is Outcome.CONFLICT):
            letter, its_messages = batch.on_conflict(position)
            letters.append(letter)
            messages.extend(its_messages)
    return letters, messages


def _rows(events: Sequence[Interaction], dialect: Dialect) -> list[StagedRow]:
    """The hot loop of an ingest: one tuple per event."""
    to_id, to_moment = dialect.encode_id, dialect.encode_moment
    pairs = [(event.user_id, event.item_id, _SLOTS[event.kind]) for event in events]
    times = Counter(pairs)
    is_crowded = len(times) < len(pairs)
    return [
        (
            position,
            to_id(event.event_id),
            user_id,
            item_id,
            KIND_CODES[event.kind],
            slot,
            to_moment(event.occurred_at),
            event.value,
            event.duration,
            event.device,
            strength(event),
            not is_crowded or times[user_id, item_id, slot] == 1,
        )
        for position, (event, (user_id, item_id, slot)) in enumerate(zip(events, pairs, strict=True))
    ]


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
