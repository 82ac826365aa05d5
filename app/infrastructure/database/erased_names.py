"""What must not be kept because it names somebody who was erased and has not come back."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.entities import DeadLetter, OutboxMessage
from app.domain.erasure import digest_of
from app.domain.naming import names_in
from app.infrastructure.database.dialects import Dialect
from app.infrastructure.database.erasure_tables import graves
from app.infrastructure.database.tables import users

PIECE = 5_000
NAMES_LOOKED_AT = 64
"""Of one payload: what a flood of poison costs has a bound; an erasure looks at all of them."""

_ANYBODY = sa.select(graves.c.digest).limit(1)


async def spared(
    connection: AsyncConnection,
    dialect: Dialect,
    letters: Sequence[DeadLetter],
    messages: Sequence[OutboxMessage] = (),
) -> tuple[Sequence[DeadLetter], Sequence[OutboxMessage]]:
    """Those that name nobody who was erased. In the transaction that keeps them: no erasure passes in between."""
    if not letters and not messages:
        return letters, messages
    await dialect.keep_users(connection)
    if (await connection.execute(_ANYBODY)).first() is None:
        return letters, messages
    of_letters = [names_in(letter.payload, NAMES_LOOKED_AT) for letter in letters]
    of_messages = [{message.key, *names_in(message.payload, NAMES_LOOKED_AT)} for message in messages]
    gone = await _erased(connection, set().union(*of_letters, *of_messages))
    return (
        [letter for letter, names in zip(letters, of_letters, strict=True) if gone.isdisjoint(names)],
        [message for message, names in zip(messages, of_messages, strict=True) if gone.isdisjoint(names)],
    )


async def _erased(connection: AsyncConnection, names: Collection[str]) -> set[str]:
    """Those of these names that have a grave and no row."""
    by_digest = {digest_of(name): name for name in names}
    digests, gone = list(by_digest), set[str]()
    for start in range(0, len(digests), PIECE):
        found = await connection.execute(
            sa.select(graves.c.digest).where(graves.c.digest.in_(digests[start : start + PIECE]))
        )
        gone |= {by_digest[digest] for digest in found.scalars()}
    if gone:
        back = await connection.execute(sa.select(users.c.user_id).where(users.c.user_id.in_(gone)))
        gone -= set(back.scalars())
    return gone
