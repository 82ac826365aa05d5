"""`encore evaluate [--model ID]`: a model of the registry on the current hold-out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.application.artifacts.artifacts import load_model
from app.application.evaluation.aligned import Aligned
from app.application.evaluation.evaluation import DEFAULT_METRICS
from app.application.evaluation.fold_in_check import judge_fold_in
from app.application.evaluation.held_out import hold_out
from app.application.evaluation.pipeline import judge_all
from app.application.evaluation.selection import Recipe
from app.application.training.computing import compute
from app.application.training.judging import dataset_of, fit, hold_out_start
from app.application.training.training_inputs import read_snapshot
from app.application.training.training_records import read_lineage
from app.bootstrap import Container, training_policy
from app.commands.shared import progress, run
from app.domain.exceptions import NotFoundError
from app.domain.models import Champion, ModelVersion, TrainingJob, TrainingStatus
from app.domain.recommender import Progress, Scorer
from app.domain.splits import time_split


def evaluate_model(model_id: str | None, names: Sequence[str], *, fold_in: bool) -> dict[str, object]:
    """The champion, or the version named, beside popularity. JSON-serialisable. Ends the process on errors."""

    async def work(container: Container) -> dict[str, object]:
        with progress("evaluate") as bar:
            return await _evaluate(container, model_id, tuple(names) or DEFAULT_METRICS, bar.update, fold_in=fold_in)

    return run(work)


async def _evaluate(
    container: Container, model_id: str | None, names: Sequence[str], report: Progress, *, fold_in: bool
) -> dict[str, object]:
    model = await _model(container, model_id)
    policy = training_policy(container.settings)
    snapshot = await read_snapshot(container.database, _window(container, model))
    lineage = read_lineage(Champion(model, 0))
    recipe = Recipe(lineage.recipe.name, lineage.recipe.parameters)
    served: Scorer | None = None
    train_columns, test_columns = time_split(snapshot.columns, policy.test_fraction)
    if model.artifact_key is not None and lineage.window.last_event < hold_out_start(snapshot.columns, policy):
        loaded = await load_model(container.artifacts, model, container.recommenders)
        train = dataset_of(train_columns, snapshot, policy)
        served = await asyncio.to_thread(Aligned, loaded, train, snapshot.items)

    def judged() -> dict[str, object]:
        train = dataset_of(train_columns, snapshot, policy)
        held = hold_out(train, test_columns, snapshot.users)
        scorer = served or fit(recipe, train, container.recommenders, container.settings.train_seed, report)
        popularity = fit(Recipe("popularity", {}), train, container.recommenders, 0, report)
        scorers: dict[str, Scorer] = {recipe.name: scorer, "popularity": popularity}
        found = judge_all(scorers, train, held, seed=container.settings.train_seed, names=names, progress=report)
        result: dict[str, object] = {
            "model": {"id": model.model_id, "version": model.version, "type": model.model_type},
            # A model that was fitted to the hold-out too is not judged on it: its recipe is, fitted to the rest.
            "judged_as": "served" if served is not None else "refitted",
            "recommenders": {label: one.summary() for label, one in found.items()},
            "recipe": {"name": recipe.name, **recipe.parameters},
        }
        if fold_in:
            whole = dataset_of(snapshot.columns, snapshot, policy)
            result["fold_in"] = judge_fold_in(whole, container.recommenders, recipe, seed=0, progress=report)
        return result

    return await compute(judged, policy.threads)


async def _model(container: Container, model_id: str | None) -> ModelVersion:
    """Raises NotFoundError for an unknown id, or where nothing has been promoted yet."""
    if model_id is not None:
        found = await container.database.models.get(model_id)
        if found is None:
            raise NotFoundError("model")
        return found
    champion = await container.database.models.champion(container.settings.train_model_type)
    if champion is None:
        raise NotFoundError("champion: train first")
    return champion.model


def _window(container: Container, model: ModelVersion) -> TrainingJob:
    """All interactions there are."""
    return TrainingJob("", model.model_type, TrainingStatus.RUNNING, container.clock())
