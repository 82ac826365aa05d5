"""Create experiments, start, pause, grow and stop them: each change by compare-and-swap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from secrets import token_hex
from uuid import uuid4

from app.domain.audit_scope import describe
from app.domain.exceptions import ArtifactError, ConflictError, InputError, NotFoundError
from app.domain.experiment_store import ExperimentStore
from app.domain.experiments import (
    MAX_PINNED,
    Arm,
    Experiment,
    ExperimentStatus,
    Metric,
    allocated,
    checked,
    moved,
    pinned_by,
)

LAYER = "lists"
"""The layer of experiments that name none."""


@dataclass(frozen=True, slots=True)
class ExperimentRequest:
    """What somebody wants to find out."""

    name: str
    hypothesis: str
    share: float
    arms: tuple[Arm, ...]
    layer: str = LAYER
    primary_metric: Metric = Metric.HIT_RATE
    guardrail_metrics: tuple[Metric, ...] = ()
    planned_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class PinnedLimits:
    """`weigh`: the bytes of a model that could serve, or why it could not; `max_bytes`: of all that arms pin."""

    weigh: Callable[[str], Awaitable[int]]
    max_bytes: int


class ExperimentService:
    """The use cases of experiments. All of them raise UnavailableError while the database is away."""

    def __init__(self, store: ExperimentStore, clock: Callable[[], datetime], models: PinnedLimits) -> None:
        self._store = store
        self._clock = clock
        self._models = models

    async def create(self, wanted: ExperimentRequest) -> Experiment:
        """A draft. Raises InputError that names the field which makes it impossible."""
        experiment = Experiment(
            experiment_id=str(uuid4()),
            name=wanted.name,
            hypothesis=wanted.hypothesis,
            layer=wanted.layer,
            salt=token_hex(16),
            share=wanted.share,
            arms=wanted.arms,
            primary_metric=wanted.primary_metric,
            guardrail_metrics=wanted.guardrail_metrics,
            status=ExperimentStatus.DRAFT,
            buckets=(),
            created_at=self._clock(),
            planned_end=wanted.planned_end,
        )
        await self._weighed(checked(experiment))
        describe(target=experiment.experiment_id, after=_facts(experiment))
        await self._store.add(experiment)
        return experiment

    async def show(self, experiment_id: str) -> Experiment:
        """The experiment. Raises NotFoundError."""
        found = await self._store.get(experiment_id)
        if found is None:
            raise NotFoundError("experiment")
        return found

    async def list(self, limit: int, before: str | None = None) -> Sequence[Experiment]:
        """Newest first."""
        return await self._store.list(limit, before)

    async def change(
        self,
        experiment_id: str,
        *,
        status: ExperimentStatus | None = None,
        share: float | None = None,
        revision: int | None = None,
    ) -> Experiment:
        """Another state, a larger share, or both. `revision`: the one the caller has seen; None takes the newest.

        Raises NotFoundError; InputError for a share that is none or smaller; ConflictError for a step that is not
        allowed, for too few free users in the layer, and if somebody else has changed it since.
        """
        before = await self.show(experiment_id)
        if revision is not None and revision != before.revision:
            raise ConflictError("somebody else has changed this experiment meanwhile")
        after = before if share is None else await self._with_share(before, share)
        after = after if status is None else moved(after, status, self._clock())
        if after is before:
            return before
        if after.status is ExperimentStatus.RUNNING and before.status is not ExperimentStatus.RUNNING:
            await self._check_pinned(after)
        if after.status in (ExperimentStatus.RUNNING, ExperimentStatus.PAUSED):
            after = replace(after, buckets=allocated(before.buckets, await self._taken(before), after.share))
        after = replace(after, revision=before.revision + 1)
        describe(before=_facts(before), after=_facts(after))
        await self._store.replace(after)
        return after

    async def _weighed(self, experiment: Experiment) -> int:
        """Bytes of all models that its arms pin. Raises InputError that names the arm whose model cannot serve."""
        weights: dict[str, int] = {}
        for place, arm in enumerate(experiment.arms):
            if arm.model_id is None or arm.model_id in weights:
                continue
            field = f"/arms/{place}/model_id"
            try:
                weights[arm.model_id] = await self._models.weigh(arm.model_id)
            except NotFoundError:
                raise InputError("there is no such model", field) from None
            except (ConflictError, ArtifactError):
                raise InputError("this model is rejected, or its artifact is gone or damaged", field) from None
        return sum(weights.values())

    async def _check_pinned(self, experiment: Experiment) -> None:
        mine = pinned_by([experiment])
        if not mine:
            return
        others = [one for one in await self._store.active() if one.experiment_id != experiment.experiment_id]
        if len(mine | pinned_by(others)) > MAX_PINNED:
            raise InputError(f"arms of running experiments may pin {MAX_PINNED} models in all", "/arms")
        if sum([await self._weighed(one) for one in (experiment, *others)]) > self._models.max_bytes:
            raise InputError(f"the models that arms pin may have {self._models.max_bytes} bytes in all", "/arms")

    async def _with_share(self, before: Experiment, share: float) -> Experiment:
        if before.status is ExperimentStatus.STOPPED:
            raise ConflictError("an experiment that is stopped cannot change")
        if before.status is not ExperimentStatus.DRAFT and share < before.share:
            raise InputError("the share of a running experiment may only grow", "/share")
        return checked(replace(before, share=share))

    async def _taken(self, experiment: Experiment) -> Sequence[tuple[tuple[int, int], ...]]:
        others = await self._store.active()
        return [
            one.buckets
            for one in others
            if one.layer == experiment.layer and one.experiment_id != experiment.experiment_id
        ]


def _facts(experiment: Experiment) -> Mapping[str, object]:
    """What the audit log keeps of it."""
    return {
        "name": experiment.name,
        "status": experiment.status.value,
        "share": experiment.share,
        "arms": [arm.name for arm in experiment.arms],
        "revision": experiment.revision,
    }
