"""Everything behind the routes that serve: made together, started together, followed together, closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app import telemetry
from app.application.catalog_service import CatalogService
from app.application.ingestion.http_ingestion import EventIngestion
from app.application.invalidation.list_invalidation import ListInvalidator
from app.application.recommending.recommendation_service import RecommendationService
from app.application.serving.guardrail import Guardrail
from app.application.serving.model_server import ModelServer
from app.application.serving.pinned_models import PinnedModels
from app.application.serving.shadow import Shadow
from app.domain.exceptions import DatabaseUnavailableError


@dataclass(frozen=True, slots=True)
class ServingStack:
    """The use cases of serving and the loops that keep them up to date.

    `server` follows the model type that answers by default, `by_type` those trained for one type of query alone.
    """

    server: ModelServer
    by_type: Mapping[str, ModelServer]
    lists: RecommendationService
    renewal: ListInvalidator
    events: EventIngestion
    catalog: CatalogService
    guardrail: Guardrail | None = None
    shadow: Shadow | None = None
    pinned: PinnedModels | None = None

    async def start(self) -> None:
        """Load what there is to load; what is away is followed up later."""
        try:
            await self.renewal.start()
        except DatabaseUnavailableError:
            telemetry.BACKGROUND_FAILURES.labels("list_renewal").inc()
        for server in (self.server, *self.by_type.values()):
            await server.start()

    def tell(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change of a model or of the catalog that lists are made from."""
        for server in (self.server, *self.by_type.values()):
            server.tell(listener)

    def wake(self) -> None:
        """Look for new champions and canaries now."""
        for server in (self.server, *self.by_type.values()):
            server.wake()
        if self.pinned is not None:
            self.pinned.wake()

    async def follow(self) -> None:
        """All background loops, until cancelled. None of them ends by itself."""
        async with asyncio.TaskGroup() as group:
            for server in (self.server, *self.by_type.values()):
                group.create_task(server.follow())
            group.create_task(self.lists.follow())
            group.create_task(self.renewal.follow())
            if self.guardrail is not None:
                group.create_task(self.guardrail.follow())
            for loop in (self.shadow, self.pinned):
                if loop is not None:
                    group.create_task(loop.follow())

    async def close(self) -> None:
        """Stop what is being computed."""
        await self.lists.close()
