"""Dead letters once more through the same door: what has become acceptable goes in, once, and is marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from app.application.ingestion.event_decoding import OLDEST, ItemRemoval, decode_event
from app.application.ingestion.event_types import TOPICS
from app.application.ingestion.record_decoding import without_frame
from app.domain.entities import DeadLetter, IngestOutcome, Interaction, Item
from app.domain.exceptions import CacheUnavailableError, EventRejectedError, NotFoundError
from app.domain.interfaces import Cache
from app.domain.stores import Database, IngestBatch

TRUNCATED = "truncated"
"""Only the beginning of the payload was kept: send it again from where it came from."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of the letters: ids that went in, and why others did not, by reason."""

    replayed: tuple[int, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    stale_users: tuple[str, ...] = ()
    """Users whose cached lists could not be renewed because the cache is away: they change when they expire."""


class DeadLetterReplay:
    """The use case behind `encore dead-letters replay`. Repeating it does no harm: identity is the event's own."""

    def __init__(
        self, database: Database, cache: Cache, clock: Callable[[], datetime], max_age: timedelta = OLDEST
    ) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock
        self._max_age = max_age

    async def run(self, letters: Sequence[DeadLetter]) -> Replay:
        """Try each letter that has not been replayed yet. Raises DatabaseUnavailableError."""
        replayed: list[int] = []
        refused: Counter[str] = Counter()
        touched: set[str] = set()
        for letter in letters:
            reason, users = await self._one(letter)
            touched |= users
            if reason is None and letter.dead_letter_id is not None:
                replayed.append(letter.dead_letter_id)
            elif reason is not None:
                refused[reason] += 1
        if replayed:
            await self._database.dead_letters.mark_replayed(replayed, self._clock())
        return Replay(tuple(replayed), dict(refused), await self._renew(touched))

    async def run_ids(self, ids: Sequence[int]) -> Replay:
        """Try the letters of these ids. Raises NotFoundError for one that is not there, before anything is tried."""
        found = [await self._database.dead_letters.get(letter_id) for letter_id in ids]
        letters = [letter for letter in found if letter is not None]
        if len(letters) < len(ids):
            raise NotFoundError("dead letter")
        return await self.run(letters)

    async def run_all(self, reason: str | None = None, page: int = 500) -> Replay:
        """Try every letter that waits, a page at a time."""
        after, total = 0, Replay()
        while letters := await self._database.dead_letters.list(page, after, reason):
            done = await self.run([letter for letter in letters if letter.replayed_at is None])
            total = Replay(
                total.replayed + done.replayed,
                Counter(total.refused) + Counter(done.refused),
                total.stale_users + done.stale_users,
            )
            after = letters[-1].dead_letter_id or 0
        return total

    async def _one(self, letter: DeadLetter) -> tuple[str | None, frozenset[str]]:
        """(why it was refused again, the users it touched)."""
        if letter.replayed_at is not None:
            return "replayed_before", frozenset()
        if sha256(letter.payload).hexdigest() != letter.sha256:
            return TRUNCATED, frozenset()
        try:
            name = TOPICS.get(letter.topic or "")
            event = decode_event(without_frame(letter.payload), self._clock(), name=name, max_age=self._max_age)
        except EventRejectedError as rejected:
            return rejected.reason, frozenset()
        if isinstance(event, Interaction):
            return await self._ingest(event)
        await self._change_catalog(event)
        return None, frozenset()

    async def _ingest(self, event: Interaction) -> tuple[str | None, frozenset[str]]:
        result = await self._database.interactions.ingest(IngestBatch([event]))
        # of a user who was erased meanwhile nothing is left to do
        is_done = result.outcomes[0] in (IngestOutcome.ACCEPTED, IngestOutcome.DUPLICATE, IngestOutcome.TOMBSTONED)
        return None if is_done else "id_conflict", result.touched

    async def _change_catalog(self, event: Item | ItemRemoval) -> None:
        if isinstance(event, Item):
            await self._database.catalog.upsert_items([event])
        else:
            await self._database.catalog.remove_items([event.item_id], event.at)

    async def _renew(self, users: set[str]) -> tuple[str, ...]:
        try:
            await self._cache.bump(users)
        except CacheUnavailableError:
            return tuple(sorted(users))
        return ()
