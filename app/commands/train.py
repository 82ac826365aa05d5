"""`encore train`: the whole pipeline here and now, and its verdict."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.shared import FAILED, JsonFlag, fail, output, print_table, progress, run
from app.domain.exceptions import TrainingRunningError

if TYPE_CHECKING:  # importing the pipeline loads every numerical library, which `encore --help` must not wait for
    from app.application.training.model_training import TrainingRequest
    from app.bootstrap import Container
    from app.domain.entities import ModelVersion, TrainingJob

_SHOWN = ("ndcg@10", "recall@20")


def parse_moment(text: str) -> datetime:
    """A date (midnight) or an RFC 3339 time; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("not a date (2026-01-31) or a time (2026-01-31T12:00:00Z)") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def register(app: typer.Typer) -> None:
    """Add `encore train`."""

    @app.command("train")
    def train(
        model_type: Annotated[str | None, typer.Option("--type", help="Default: ENCORE_TRAIN_MODEL_TYPE.")] = None,
        start_date: Annotated[
            datetime | None, typer.Option(parser=parse_moment, metavar="DATE", help="Events from this moment on.")
        ] = None,
        end_date: Annotated[
            datetime | None, typer.Option(parser=parse_moment, metavar="DATE", help="Events before this moment.")
        ] = None,
        seed: Annotated[int | None, typer.Option(min=0, help="Default: ENCORE_TRAIN_SEED.")] = None,
        compare_weights: Annotated[
            list[str] | None,
            typer.Option(
                metavar="KIND=WEIGHT,…",
                help="Judge other weights of signals beside the present ones, and store nothing; may be repeated. "
                "half_life_days=… counts as one.",
            ),
        ] = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Train, judge and, if it is better, promote a model. Exit 1 if it was rejected or failed."""
        from app.application.training.model_training import TrainingRequest

        if compare_weights:
            compare(TrainingRequest(model_type or "", start_date, end_date, seed), compare_weights, as_json=as_json)
            return

        async def work(container: Container) -> tuple[TrainingJob, ModelVersion | None]:
            kind = model_type or container.settings.train_model_type
            return await train_now(container, TrainingRequest(kind, start_date, end_date, seed))

        began = monotonic()
        job, model = run(work)
        report = as_report(job, model, monotonic() - began)
        output(as_json).result(report, lambda: show(report))
        if job.status != "promoted":
            fail(f"training {job.status}: {job.reason}", FAILED)


def compare(request: TrainingRequest, weightings: Sequence[str], *, as_json: bool) -> None:
    """Print how lists would do with these weights."""
    from app.application.training.training_inputs import read_snapshot
    from app.application.training.weightings import (
        CURRENT_WEIGHTS,
        WeightingResult,
        compare_weightings,
        parse_weighting,
    )
    from app.policies import training_policy

    async def work(container: Container) -> Sequence[WeightingResult]:
        settings, policy = container.settings, training_policy(container.settings)
        asked = {text: parse_weighting(text, policy.signals) for text in weightings}
        snapshot = await read_snapshot(container.database, container.clock(), request.start_date, request.end_date)
        seed = settings.train_seed if request.seed is None else request.seed
        kind = request.model_type or settings.train_model_type
        with progress("comparing weights") as bar:
            return await compare_weightings(snapshot, container.recommenders, policy, asked, kind, seed, bar.update)

    compared = run(work)
    rows = []
    for one in compared:
        figures = _mapping(one.evaluation.summary()["metrics"])
        better = "" if one.label == CURRENT_WEIGHTS else f"{one.probability:.2f}"
        rows.append((one.label, *(_with_interval(_mapping(figures[name])) for name in _SHOWN), better))
    data = {
        "compared": [
            {"weights": one.label, "at_least_as_good": one.probability, **one.evaluation.summary()} for one in compared
        ]
    }
    output(as_json).table(data, ("weights", *(f"{name} (95 %)" for name in _SHOWN), "at least as good"), rows)


def _mapping(value: object) -> Mapping[str, Any]:
    assert isinstance(value, Mapping)
    return value


async def train_now(container: Container, request: TrainingRequest) -> tuple[TrainingJob, ModelVersion | None]:
    """Queue and run a training in this process, with a progress bar; SIGTERM and Ctrl-C cancel it in order."""
    from app.application.training.model_training import queue_training
    from app.bootstrap import make_trainer

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        job = await queue_training(container.database, container.recommenders, container.clock, request)
    except TrainingRunningError as error:
        job = await _taken_over(container, request, error)
    with progress("training") as bar:
        ended = await make_trainer(container).run(job.training_id, bar.update)
    model = None if ended.model_id is None else await container.database.models.get(ended.model_id)
    return ended, model


async def _taken_over(container: Container, request: TrainingRequest, error: TrainingRunningError) -> TrainingJob:
    """The same training, if it is still waiting for a worker; a worker that comes later finds nothing to do."""
    job = await container.database.trainings.get(error.training_id)
    asked = {} if request.seed is None else {"seed": request.seed}
    if job is None or job.status != "queued" or job.parameters != asked:
        raise error
    if (job.start_date, job.end_date) != (request.start_date, request.end_date):
        raise error
    return job


def as_report(job: TrainingJob, model: ModelVersion | None, seconds: float) -> Mapping[str, object]:
    """What `--json` prints."""
    return {
        "training_id": job.training_id,
        "model_type": job.model_type,
        "status": job.status.value,
        "reason": job.reason,
        "model_id": job.model_id,
        "version": None if model is None else model.version,
        "artifact_key": None if model is None else model.artifact_key,
        "artifact_sha256": None if model is None else model.manifest_sha256,
        "seconds": round(seconds, 2),
        "metrics": dict(job.metrics),
    }


def show(report: Mapping[str, object]) -> None:
    """Candidate, champion and popularity side by side, then the verdict."""
    metrics = report["metrics"]
    assert isinstance(metrics, Mapping)
    rows = [row for name in ("candidate", "champion", "popularity") if (row := _row(name, metrics.get(name)))]
    if rows:
        print_table(("", *(f"{name} (95 %)" for name in _SHOWN), "coverage", "users"), rows)
    typer.echo(f"{report['status']} after {report['seconds']} s")
    if report["version"] is not None:
        typer.echo(f"{report['model_type']} version {report['version']}, model {report['model_id']}")
    if report["artifact_sha256"] is not None:
        typer.echo(f"artifact {report['artifact_key']} sha256 {report['artifact_sha256']}")
    if report["status"] == "promoted":
        typer.echo(f"{report['reason']}")


def _row(name: str, summary: object) -> Sequence[object] | None:
    if not isinstance(summary, Mapping):
        return None
    figures = summary["metrics"]
    cells = (_with_interval(figures[metric]) for metric in _SHOWN)
    return (f"{name} ({summary['recommender']})", *cells, f"{summary['coverage']:.1%}", summary["users"])


def _with_interval(figure: Mapping[str, float]) -> str:
    return f"{figure['mean']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"
