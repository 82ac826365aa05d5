"""One model of the registry on the current hold-out, beside popularity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.application.artifacts.model_artifacts import load_model
from app.application.evaluation.aligned_model import AlignedModel
from app.application.evaluation.evaluation import DEFAULT_METRICS, Evaluation
from app.application.evaluation.fold_in_check import judge_fold_in
from app.application.evaluation.hold_out import hold_out
from app.application.evaluation.pipeline import judge_all
from app.application.evaluation.selection import Recipe
from app.application.training.background_computation import compute
from app.application.training.comparison import Snapshot, TrainingPolicy, dataset_of, fit, hold_out_start
from app.application.training.training_inputs import read_snapshot
from app.application.training.training_records import Lineage, read_lineage
from app.domain.entities import Champion, ModelVersion
from app.domain.interfaces import ArtifactStore
from app.domain.recommender import ProgressCallback, Recommenders, Scorer
from app.domain.splits import time_split
from app.domain.stores import Database


@dataclass(frozen=True, slots=True)
class ModelMeasurement:
    """What was found. `fold_in` is JSON, or None where it was not asked for.

    A model that was fitted to the hold-out too is not judged on it: `judged_as` is then `refitted`, its recipe fitted
    to the rest; else `served`, the very model.
    """

    model: ModelVersion
    recipe: Recipe
    judged_as: str
    found: dict[str, Evaluation]
    fold_in: object = None

    @property
    def evaluation(self) -> Evaluation:
        """The model's own."""
        return self.found[self.recipe.name]


@dataclass(frozen=True, slots=True)
class ModelEvaluator:
    """Measures models on the newest part of all interactions there are."""

    database: Database
    artifacts: ArtifactStore
    recommenders: Recommenders
    clock: Callable[[], datetime]
    policy: TrainingPolicy
    seed: int

    async def measure(
        self,
        model: ModelVersion,
        report: ProgressCallback,
        names: Sequence[str] = DEFAULT_METRICS,
        *,
        fold_in: bool = False,
    ) -> ModelMeasurement:
        """Raises TrainingError where the row does not say how the model was made; NotEnoughDataError."""
        snapshot = await read_snapshot(self.database)
        lineage = read_lineage(Champion(model, 0))
        served = await self._served(model, lineage, snapshot)
        return await compute(
            lambda: self._measured(model, lineage, snapshot, served, report, names, fold_in=fold_in),
            self.policy.threads,
        )

    async def _served(self, model: ModelVersion, lineage: Lineage, snapshot: Snapshot) -> Scorer | None:
        """The model itself, where it has not seen the hold-out."""
        seen = lineage.window.last_event >= hold_out_start(snapshot.columns, self.policy)
        if model.artifact_key is None or seen:
            return None
        loaded = await load_model(self.artifacts, model, self.recommenders)
        train_columns, _ = time_split(snapshot.columns, self.policy.test_fraction)
        train = dataset_of(train_columns, snapshot, self.policy)
        return await asyncio.to_thread(AlignedModel, loaded, train, snapshot.items)

    def _measured(
        self,
        model: ModelVersion,
        lineage: Lineage,
        snapshot: Snapshot,
        served: Scorer | None,
        report: ProgressCallback,
        names: Sequence[str],
        *,
        fold_in: bool,
    ) -> ModelMeasurement:
        recipe = Recipe(lineage.recipe.name, lineage.recipe.parameters)
        train_columns, test_columns = time_split(snapshot.columns, self.policy.test_fraction)
        train = dataset_of(train_columns, snapshot, self.policy)
        held = hold_out(train, test_columns, snapshot.users)
        scorer = served or fit(recipe, train, self.recommenders, self.seed, report)
        popularity = fit(Recipe("popularity", {}), train, self.recommenders, 0, report)
        scorers: dict[str, Scorer] = {recipe.name: scorer, "popularity": popularity}
        found = judge_all(scorers, train, held, seed=self.seed, names=tuple(names), progress=report)
        judged_as = "served" if served is not None else "refitted"
        if not fold_in:
            return ModelMeasurement(model, recipe, judged_as, dict(found))
        whole = dataset_of(snapshot.columns, snapshot, self.policy)
        folded = judge_fold_in(whole, self.recommenders, recipe, seed=0, progress=report)
        return ModelMeasurement(model, recipe, judged_as, dict(found), folded)
