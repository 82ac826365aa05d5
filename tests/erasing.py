"""Erasing somebody in a test that is about the tables alone."""

from __future__ import annotations

from datetime import datetime

from app.domain.erasure import Person, digest_of
from app.domain.request_log import user_pseudonym
from app.domain.stores import Database

SECRET = b"encore"


def person(user_id: str) -> Person:
    """As the use case names somebody."""
    return Person(user_id, digest_of(user_id), user_pseudonym(SECRET, user_id))


async def remove_user(database: Database, user_id: str, until: datetime) -> bool:
    """Erase a user who is known; whether that was so."""
    if not await database.erasures.known([person(user_id)]):
        return False
    await database.erasures.remove_people([person(user_id)], until, until)
    return True
