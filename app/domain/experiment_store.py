"""The port to stored experiments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from app.domain.experiments import Experiment


class ExperimentStore(Protocol):
    """Experiments and their buckets. No two experiments that are running or paused share a bucket of a layer."""

    @abstractmethod
    async def add(self, experiment: Experiment) -> None:
        """Store a new one."""

    @abstractmethod
    async def get(self, experiment_id: str) -> Experiment | None:
        """The experiment, or None."""

    @abstractmethod
    async def list(self, limit: int, before: str | None = None) -> Sequence[Experiment]:
        """Newest first; `before` is an experiment_id of an earlier page."""

    @abstractmethod
    async def active(self) -> Sequence[Experiment]:
        """Those that are running or paused, oldest first. Cheap: replicas poll it."""

    @abstractmethod
    async def replace(self, experiment: Experiment) -> None:
        """Compare-and-swap: store it where the stored revision is one lower.

        Raises NotFoundError; ConflictError if it has changed meanwhile, or if another experiment of the layer has got
        one of its buckets.
        """
