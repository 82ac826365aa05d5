"""What survives a restored backup: graves beside the database, in the artifact store, one object an erasure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec

from app.domain.erasure import Erasure, Grave, Person
from app.domain.exceptions import ArtifactDamagedError, ObjectExistsError
from app.domain.interfaces import ArtifactStore

FOLDER = "erasures/"
MAX_BYTES = 1_048_576


class _Page(msgspec.Struct, frozen=True):
    """`people`: (digest, pseudonym)."""

    erased_at: datetime
    until: datetime
    people: tuple[tuple[bytes, bytes | None], ...]


_decode = msgspec.json.Decoder(_Page).decode


async def write(artifacts: ArtifactStore, erasure: Erasure, people: Sequence[Person]) -> None:
    """Note who was erased, without their names. Raises ArtifactsUnavailableError."""
    page = _Page(erasure.requested_at, erasure.until, tuple((one.digest, one.pseudonym) for one in people))
    with suppress(ObjectExistsError):  # an attempt before this one got so far
        await artifacts.put(f"{FOLDER}{erasure.erasure_id}.json", msgspec.json.encode(page))


async def read(artifacts: ArtifactStore) -> AsyncIterator[Sequence[Grave]]:
    """All graves, an erasure at a time. Raises ArtifactsUnavailableError, ArtifactDamagedError."""
    for key in await artifacts.list(FOLDER):
        try:
            page = _decode(await artifacts.get(key, MAX_BYTES))
        except msgspec.MsgspecError as error:
            raise ArtifactDamagedError("erasure", "it is not what was written") from error
        yield [Grave(digest, pseudonym, page.erased_at, page.until) for digest, pseudonym in page.people]
