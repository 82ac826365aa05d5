"""`encore evaluate [--model ID]`: a model of the registry on the current hold-out."""

from __future__ import annotations

from collections.abc import Sequence

from app.application.evaluation.evaluation import DEFAULT_METRICS
from app.application.reporting.model_quality import ModelMeasurement
from app.bootstrap import Container, make_judge
from app.commands.shared import progress, run
from app.domain.entities import ModelVersion
from app.domain.exceptions import NotFoundError


def evaluate_model(model_id: str | None, names: Sequence[str], *, fold_in: bool) -> dict[str, object]:
    """The champion, or the version named, beside popularity. JSON-serialisable. Ends the process on errors."""

    async def work(container: Container) -> dict[str, object]:
        model = await _model(container, model_id)
        with progress("evaluate") as bar:
            measured = await make_judge(container).measure(
                model, bar.update, tuple(names) or DEFAULT_METRICS, fold_in=fold_in
            )
        return _as_json(measured)

    return run(work)


def _as_json(measured: ModelMeasurement) -> dict[str, object]:
    model = measured.model
    result: dict[str, object] = {
        "model": {"id": model.model_id, "version": model.version, "type": model.model_type},
        "judged_as": measured.judged_as,
        "recommenders": {label: one.summary() for label, one in measured.found.items()},
        "recipe": {"name": measured.recipe.name, **measured.recipe.parameters},
    }
    return result if measured.fold_in is None else {**result, "fold_in": measured.fold_in}


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
