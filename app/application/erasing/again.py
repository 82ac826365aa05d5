"""After a restored backup: everybody who was ever erased is erased again, unless they have come back since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.application.erasing import ledger
from app.application.erasing.erasures import Erasures
from app.application.erasing.stores import Stores
from app.domain.erasure import Grave, digest_of

_PAGE = 1_000
_LISTS = 100


@dataclass(frozen=True, slots=True)
class Again:
    """`graves`: people ever erased; `erased`: of whom there was something again; `returned`: who are new users."""

    graves: int
    erased: int
    returned: int
    lists: int
    papers: int
    keys: int


async def erase_again(erasures: Erasures, stores: Stores, actor: str) -> Again:
    """Do it in every store, and bring the graves that the backup lacks back from the artifact store.

    Holds the digests of all who were ever erased in memory, some 300 bytes each. Raises UnavailableError; repeating it
    does no harm. Run it before events are taken in.
    """
    async for page in ledger.read(stores.artifacts):
        await stores.database.erasures.bury(page)
    graves = await _all_graves(stores)
    erased, returned = await _people_again(erasures, stores, graves, actor)
    lists = 0
    everybody = list(graves.values())
    for start in range(0, len(everybody), _LISTS):
        lists += await stores.database.erasures.lists_of(everybody[start : start + _LISTS], remove=True)

    def is_theirs(user_id: str) -> bool:
        digest = digest_of(user_id)
        return digest in graves and digest not in returned

    papers = await stores.clear_papers(is_theirs, (), None)
    stores.forget_here(is_theirs)
    keys = await stores.cache.erase(is_theirs)
    return Again(len(graves), erased, len(returned), lists, sum(papers.values()), keys)


async def _all_graves(stores: Stores) -> dict[bytes, Grave]:
    graves: dict[bytes, Grave] = {}
    after = b""
    while page := await stores.database.erasures.graves(after, _PAGE):
        graves.update({grave.digest: grave for grave in page})
        after = page[-1].digest
    return graves


async def _people_again(
    erasures: Erasures, stores: Stores, graves: Mapping[bytes, Grave], actor: str
) -> tuple[int, set[bytes]]:
    """Erase those who are in the tables with something of before their erasure; who came back is left alone."""
    erased, returned = 0, set[bytes]()
    after: str | None = None
    while users := await stores.database.catalog.list_users(after, _PAGE):
        after = users[-1].user_id
        theirs = {user.user_id: graves[digest] for user in users if (digest := digest_of(user.user_id)) in graves}
        back = await stores.database.erasures.returned(theirs) if theirs else ()
        returned |= {digest_of(user_id) for user_id in back}
        old = sorted(set(theirs).difference(back))
        if old:
            erasure = await erasures.order(old, actor)
            await erasures.run(erasure.erasure_id)
            erased += len(old)
    return erased, returned
