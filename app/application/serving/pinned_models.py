"""Models served beside the champion: a canary's candidate, and what arms of experiments pin. Few, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from app import telemetry
from app.application.serving.model_server import ModelServer
from app.application.waiting import wait_unless
from app.domain.canary import Canary, CanaryStore, takes
from app.domain.exceptions import UnavailableError
from app.domain.experiments import MAX_PINNED


@dataclass(frozen=True, slots=True)
class _Held:
    server: ModelServer
    task: asyncio.Task[None]


class PinnedModels:
    """Follows what is wanted, loads it, lets go of it. Asked by every list, without any I/O."""

    def __init__(
        self,
        canaries: CanaryStore,
        arms: Callable[[], Collection[str]],
        open_server: Callable[[str], ModelServer],
        poll_seconds: float,
    ) -> None:
        """`arms`: ids of models that arms of running experiments pin; `open_server`: what serves a model by its id."""
        self._store = canaries
        self._arms = arms
        self._open_server = open_server
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._held: dict[str, _Held] = {}
        self.canaries: Mapping[str, Canary] = {}
        """Running canaries by the id of the champion they stand beside."""

    def wake(self) -> None:
        """Look again at once: this process has changed something."""
        self._wake.set()

    def of(self, model_id: str) -> ModelServer | None:
        """What serves this model; None until it is loaded, and for models that nobody wants."""
        held = self._held.get(model_id)
        return None if held is None or held.server.current.model is None else held.server

    def candidate(self, champion_id: str, user_id: str) -> ModelServer | None:
        """What serves the canary's candidate, if this user is to have it in place of the champion."""
        canary = self.canaries.get(champion_id)
        return self.of(canary.model_id) if canary is not None and takes(canary, user_id) else None

    async def refresh(self) -> None:
        """Take up what is wanted by now, and let go of the rest. Raises UnavailableError; then nothing changes."""
        running = await self._store.running()
        for ended in self.canaries.values():
            telemetry.CANARY_SHARE.labels(ended.model_type).set(0)
        for canary in running:
            telemetry.CANARY_SHARE.labels(canary.model_type).set(canary.share)
        self.canaries = {canary.champion_id: canary for canary in running}
        # One candidate a model type, and few of arms: both are bounded where they are started.
        wanted = list(dict.fromkeys((*(canary.model_id for canary in running), *sorted(self._arms())[:MAX_PINNED])))
        for model_id in [known for known in self._held if known not in wanted]:
            await _stopped(self._held.pop(model_id).task)
        for model_id in wanted:
            if model_id not in self._held:
                server = self._open_server(model_id)
                self._held[model_id] = _Held(server, asyncio.create_task(_serve(server)))

    async def follow(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self.refresh()
                except UnavailableError:
                    telemetry.BACKGROUND_FAILURES.labels("pinned_models").inc()
                await wait_unless(self._wake, self._poll_seconds)
        finally:
            for held in self._held.values():
                await _stopped(held.task)


async def _serve(server: ModelServer) -> None:
    await server.start()
    await server.follow()


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
