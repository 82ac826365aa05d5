"""Precomputing lists in a process of its own: the container of these settings, a serving stack, one run."""

from __future__ import annotations

from datetime import datetime
from time import monotonic

from app.application.recommending.precompute import Precomputed, PrecomputePolicy, precompute
from app.application.reporting.reporter import PRECOMPUTE, job_name
from app.bootstrap import Container, make_recorder, make_serving
from app.domain.exceptions import InputError
from app.domain.reports import Report


async def precompute_lists(container: Container, users: int | None = None, seconds: float | None = None) -> Precomputed:
    """Make lists for the newest active users; the settings' bounds unless told otherwise.

    Raises InputError where each process has a cache of its own, as nobody else would see what is made here.
    """
    settings = container.settings
    if not container.cache.is_shared:
        raise InputError("precomputing needs a cache that servers share (redis://)", "ENCORE_CACHE_URL")
    policy = PrecomputePolicy(
        users=settings.precompute_users if users is None else users,
        seconds=settings.precompute_seconds if seconds is None else seconds,
        at_once=2 * settings.scoring_threads,
    )
    serving = make_serving(container, make_recorder(container))
    try:
        await serving.start()
        return await precompute(container.database.interactions, serving.lists, policy, monotonic)
    finally:
        await serving.close()


async def precompute_slot(container: Container, slot: datetime) -> None:
    """The job of one promotion: done once, whoever rings how often; what came of it is kept as a report."""
    reports, claimed_at = container.database.reports, container.clock()
    if not await reports.claim(PRECOMPUTE, slot, claimed_at):
        return
    found = await precompute_lists(container)
    await reports.finish(Report(PRECOMPUTE, slot, claimed_at, container.clock(), None, dict(found.facts())))


async def after_promotion(container: Container) -> None:
    """Ring for the lists of the new champion, or make them here where nobody else does jobs.

    Nothing happens without a shared cache, or where the bound is nobody.
    """
    if not container.cache.is_shared or container.settings.precompute_users == 0:
        return
    slot = container.clock()
    if container.jobs.needs_ticks:
        await precompute_slot(container, slot)
    else:
        await container.jobs.submit(job_name(PRECOMPUTE, slot))
