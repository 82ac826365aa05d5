"""Forgetting people: the order is a row, the work can be cut off anywhere and goes on, the end is a certificate.

The tables come first, in the call that gives the order where the database answers; everything else is done by whoever
claims the row: this process at once, or any other once the claim has run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from app import telemetry
from app.application.audit_trail import AuditTrail
from app.application.catalog_service import NEWEST
from app.application.erasing import ledger
from app.application.erasing.stores import PAPERS, Stores
from app.domain.erasure import (
    MAX_PEOPLE,
    Erasure,
    Finding,
    Grave,
    IsErased,
    Person,
    certified,
    digest_of,
    erased_among,
    people_hash,
)
from app.domain.exceptions import CacheUnavailableError, DatabaseUnavailableError, InputError, NotFoundError
from app.domain.request_log import user_pseudonym

log = telemetry.get_logger(__name__)

LEASE_SECONDS = 30.0
CHUNK = 50
"""People in one transaction: nobody writes events while it runs."""

ROUNDS = 3
"""How often a store is cleared before what is found in it again is put into the certificate."""

_LOOKED_AT = 100


class Erasures:
    """`renew` makes the lists of users unreachable everywhere; `woken` is set when there is work to go on with."""

    def __init__(
        self,
        stores: Stores,
        clock: Callable[[], datetime],
        secret: bytes,
        renew: Callable[[Collection[str]], Awaitable[object]],
    ) -> None:
        self.stores = stores
        self._rows = stores.database.erasures
        self._clock = clock
        self._secret = secret
        self._renew = renew
        self.woken = asyncio.Event()

    async def order(self, user_ids: Sequence[str], actor: str, *, only_known: bool = False) -> Erasure:
        """Give the order, and take them out of the tables if the database goes on answering. `run` does the rest.

        Raises NotFoundError, and nothing happens, where only known ones are meant and of none of them anything is
        stored; InputError for too many at once; DatabaseUnavailableError.
        """
        people = self.people(user_ids)
        if only_known:
            known = await self._rows.known(people)
            people = [one for one in people if one.user_id in known]
            if not people:
                raise NotFoundError("user")
        ids = tuple(one.user_id for one in people)
        now = self._clock()
        # Events may be dated that far ahead of their arrival.
        erasure = Erasure(uuid4().hex, actor, now, now + NEWEST, ids, len(ids), people_hash(ids))
        async with self._trail(actor).act("erasure.order", erasure.erasure_id) as act:
            await self._rows.add(erasure)
            act.after = {"people": erasure.people, "people_sha256": erasure.people_sha256}
        try:
            erasure = await self._clear_tables(erasure)
        except (DatabaseUnavailableError, CacheUnavailableError):
            telemetry.BACKGROUND_FAILURES.labels("erasures").inc()
        self.woken.set()
        return erasure

    def people(self, user_ids: Sequence[str]) -> list[Person]:
        """Each of them once. Raises InputError for none or too many."""
        ids = list(dict.fromkeys(user_ids))
        if not 0 < len(ids) <= MAX_PEOPLE:
            raise InputError(f"an erasure is of 1 to {MAX_PEOPLE:,} people", "user_id")
        return [Person(one, digest_of(one), user_pseudonym(self._secret, one)) for one in ids]

    async def get(self, erasure_id: str) -> Erasure:
        """How far it is. Raises NotFoundError."""
        erasure = await self._rows.get(erasure_id)
        if erasure is None:
            raise NotFoundError("erasure")
        return erasure

    async def run(self, erasure_id: str | None = None) -> Erasure | None:
        """Do what is left of this erasure, or of the oldest that waits; None if there is none, or others do it.

        Raises UnavailableError; what was done is kept, and the rest is done when somebody claims it again.
        """
        erasure = await self._rows.claim(erasure_id, self._clock(), LEASE_SECONDS)
        if erasure is None:
            return None
        people = self.people(erasure.user_ids)
        await ledger.write(self.stores.artifacts, erasure, people)
        erasure = await self._clear_tables(erasure, is_claimed=True)
        erasure = await self._clear_the_rest(erasure, people)
        done = certified(erasure, self._clock())
        facts = {**(done.certificate or {}), "certificate_sha256": done.certificate_sha256}
        async with self._trail(erasure.actor).act("erasure.finish", erasure.erasure_id, before=facts):
            await self._rows.finish(done)
        telemetry.PEOPLE_ERASED.inc(done.people)
        log.info("erasure_finished", erasure_id=done.erasure_id, people=done.people)
        return done

    async def run_waiting(self) -> int:
        """Do all that waits, each of them to its end; how many."""
        done = 0
        while await self.run() is not None:
            done += 1
        return done

    async def _clear_tables(self, erasure: Erasure, *, is_claimed: bool = False) -> Erasure:
        """The people who are still in the tables, some in each transaction, and their lists at once."""
        while not erasure.is_done and erasure.removed < len(erasure.user_ids):
            chunk = self.people(erasure.user_ids[erasure.removed : erasure.removed + CHUNK])
            erasure = await self._rows.remove_next(erasure.erasure_id, chunk)
            await self._renew({one.user_id for one in chunk})
            if is_claimed:
                await self._go_on(erasure)
        return erasure

    async def _clear_the_rest(self, erasure: Erasure, people: Sequence[Person]) -> Erasure:
        is_theirs = erased_among(frozenset(one.digest for one in people))
        await self._clear_papers(erasure, is_theirs)
        here = Finding().plus(self.stores.forget_here(is_theirs), self.stores.forget_here(is_theirs))
        await self._note(erasure, {"process_memory": here})
        await self._note(erasure, {"cache": await self._clear_cache(is_theirs, erasure.user_ids)})
        await self._go_on(erasure)
        await self._note(erasure, await self.stores.tell_the_broker(erasure.user_ids))
        return await self._note(erasure, {"request_log": Finding(0, 0, await self._lists_left(erasure, people))})

    async def _clear_papers(self, erasure: Erasure, is_theirs: IsErased) -> None:
        """What was found is counted with each removal; what is found at the last look is noted here."""
        again = dict.fromkeys(PAPERS, 0)
        for _round in range(ROUNDS):
            await self._go_on(erasure)
            again = await self.stores.clear_papers(is_theirs, erasure.user_ids, erasure.erasure_id)
            if not any(again.values()):
                break
        await self._note(erasure, {name: Finding(0, 0, found) for name, found in again.items()})

    async def _clear_cache(self, is_theirs: IsErased, user_ids: Sequence[str]) -> Finding:
        await self._renew(set(user_ids))
        found = again = await self.stores.cache.erase(is_theirs)
        for _round in range(ROUNDS):
            again = await self.stores.cache.erase(is_theirs)
            if not again:
                break
            found += again
        return Finding(found, found, again)

    async def _note(self, erasure: Erasure, found: Mapping[str, Finding]) -> Erasure:
        """Add to what an attempt before this one has found; what is there now is what counts as found again."""
        before = (await self.get(erasure.erasure_id)).findings
        return await self._rows.note(
            erasure.erasure_id, {name: one.after(before.get(name, Finding())) for name, one in found.items()}
        )

    async def _go_on(self, erasure: Erasure) -> None:
        """Say that somebody works on it."""
        await self._rows.extend(erasure.erasure_id, self._clock() + timedelta(seconds=LEASE_SECONDS))

    async def _lists_left(self, erasure: Erasure, people: Sequence[Person]) -> int:
        left = 0
        for start in range(0, len(people), _LOOKED_AT):
            chunk = people[start : start + _LOOKED_AT]
            # Up to the order: who has returned since may have been shown lists.
            graves = [Grave(one.digest, one.pseudonym, erasure.requested_at, erasure.requested_at) for one in chunk]
            left += await self._rows.lists_of(graves, remove=False)
        return left

    def _trail(self, actor: str) -> AuditTrail:
        return AuditTrail(self.stores.database.audit, self._clock, actor)
