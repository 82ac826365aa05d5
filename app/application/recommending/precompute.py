"""Lists of the people who were active last, made before they ask: what a promotion would cost its first readers.

A new model names its lists anew, so the shared cache holds none of them. Whoever asks computes one; this does it for
the most recently active, within bounds of number and time, through the same use case that answers requests: what is
cached already is left alone, and a list whose user has changed meanwhile is refused by its generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from app.application.recommending.recommendation_service import RecommendationService
from app.domain.exceptions import EncoreError
from app.domain.list_query import ListQuery
from app.domain.stores import InteractionStore
from app.telemetry import PRECOMPUTED, get_logger

log = get_logger(__name__)

PAGE = 5_000
"""Interactions looked through at once, newest first."""


@dataclass(frozen=True, slots=True)
class PrecomputePolicy:
    """Bounds: people, seconds, interactions looked through to find them, and lists being made at once."""

    users: int
    seconds: float
    max_interactions: int = 1_000_000
    at_once: int = 4


@dataclass(slots=True)
class Precomputed:
    """What came of it. `held`: lists that were cached already; `ended_by`: users, seconds or everybody."""

    made: int = 0
    held: int = 0
    failed: int = 0
    seconds: float = 0.0
    ended_by: str = "everybody"

    def facts(self) -> Mapping[str, object]:
        """For people and for the report."""
        return {
            "made": self.made,
            "held": self.held,
            "failed": self.failed,
            "seconds": round(self.seconds, 1),
            "ended_by": self.ended_by,
        }


async def precompute(
    interactions: InteractionStore,
    lists: RecommendationService,
    policy: PrecomputePolicy,
    monotonic: Callable[[], float],
) -> Precomputed:
    """Make the default list of each of the newest active users. Raises UnavailableError if these cannot be read."""
    found, began = Precomputed(), monotonic()
    places = asyncio.Semaphore(policy.at_once)

    async def one(user_id: str) -> None:
        try:
            page = await lists.recommend(ListQuery(user_id))
        except EncoreError as error:
            found.failed += 1
            log.warning("list_not_precomputed", error=type(error).__name__)
        else:
            found.held += page.from_cache
            found.made += not page.from_cache
            PRECOMPUTED.labels("held" if page.from_cache else "made").inc()
        finally:
            places.release()

    begun = 0
    async with asyncio.TaskGroup() as tasks:
        async for user_id in active_users(interactions, policy.max_interactions):
            await places.acquire()
            if monotonic() - began >= policy.seconds or begun >= policy.users:
                found.ended_by = "users" if begun >= policy.users else "seconds"
                places.release()
                break
            begun += 1
            tasks.create_task(one(user_id))
    found.seconds = monotonic() - began
    log.info("lists_precomputed", **found.facts())
    return found


async def active_users(interactions: InteractionStore, max_interactions: int) -> AsyncIterator[str]:
    """Users in about the order of their newest stored interaction, each once."""
    seen: set[str] = set()
    _, end = await interactions.users_since(-1, 0)
    start = end
    while start > 0 and end - start < max_interactions:
        start = max(start - PAGE, 0)
        users, _ = await interactions.users_since(start, PAGE)
        for user_id in sorted(set(users) - seen):
            yield user_id
        seen.update(users)
