"""What the ETag of a page covers."""

from __future__ import annotations

from dataclasses import replace

from app.application.recommending.pages import build_page
from app.domain.ranked_list import RankedList
from tests.unit.serving.world import World


async def test_the_same_list_for_another_reason_is_another_etag(world: World) -> None:
    """A client that holds a page must not be told that it is still the answer when the reason has changed."""
    plain = RankedList(as_of=0.0, good_until=60.0)
    lists = (plain, plain.as_fallback("new_user"), plain.as_fallback("all_seen"))

    pages = [build_page(world.server.current, ranked, 10, 0) for ranked in lists]

    assert [page.fallback_reason for page in pages] == [None, "new_user", "all_seen"]
    assert len({page.etag for page in pages}) == 3
    assert build_page(world.server.current, replace(plain), 10, 0).etag == pages[0].etag
