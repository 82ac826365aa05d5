"""`encore experiments …` and `encore requests …`: A/B tests and the log of lists from the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from app.commands.audit import trail_of
from app.commands.shared import JsonFlag, fail, output, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.application.experimentation.experiment_results import ExperimentResults
    from app.application.experimentation.experiment_service import ExperimentService
    from app.bootstrap import Container
    from app.domain.entities import Item
    from app.domain.experiments import Experiment, Metric
    from app.domain.request_log import RequestEntry

IdArgument = Annotated[str, typer.Argument(help="The id of an experiment: `encore experiments list` shows it.")]
MAX_FILE_BYTES = 1_048_576


def register(app: typer.Typer) -> None:
    """Add `encore experiments …` and `encore requests …`."""
    experiments = typer.Typer(no_args_is_help=True, help="Create, list, start, pause, stop; which arm is better.")
    app.add_typer(experiments, name="experiments")
    for name, command in (
        ("create", create),
        ("list", list_all),
        ("show", show),
        ("start", start),
        ("pause", pause),
        ("stop", stop),
        ("results", results),
    ):
        experiments.command(name)(command)
    requests = typer.Typer(no_args_is_help=True, help="The log of lists that were shown.")
    app.add_typer(requests, name="requests")
    requests.command("show")(show_request)


def create(
    file: Annotated[Path, typer.Argument(help="A JSON file with the body of POST /api/v1/recs/experiments.")],
    as_json: JsonFlag = False,
) -> None:
    """Store a draft from a file; nobody is in it until it is started."""
    from pydantic import ValidationError

    from app.api.v1.schemas.experiment_schemas import ExperimentBody

    try:
        with file.open("rb") as opened:
            body = ExperimentBody.model_validate_json(opened.read(MAX_FILE_BYTES))
    except OSError as error:
        fail(f"the file cannot be read: {error.strerror}")
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        fail(f"/{'/'.join(str(part) for part in problem['loc'])}: {problem['msg']}")

    async def work(container: Container) -> Experiment:
        async with trail_of(container).change("experiment.create", body.name):
            return await _service(container).create(body.request)

    _tell(run(work), as_json)


def list_all(limit: Annotated[int, typer.Option(min=1, max=1_000)] = 20, as_json: JsonFlag = False) -> None:
    """Experiments, newest first."""
    found = run(lambda container: _service(container).list(limit))
    rows = [(one.name, one.status.value, f"{one.share:.0%}", len(one.arms), one.experiment_id) for one in found]
    data = {"experiments": [msgspec.to_builtins(one) for one in found]}
    output(as_json).table(data, ("name", "status", "share", "arms", "experiment"), rows)


def show(experiment_id: IdArgument, as_json: JsonFlag = False) -> None:
    """One experiment as it stands."""
    _tell(run(lambda container: _service(container).show(experiment_id)), as_json)


def start(
    experiment_id: IdArgument,
    share: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Of all users; may only grow.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Start it, go on after a pause, or (with --share, while it runs) let it grow."""

    async def work(container: Container) -> Experiment:
        from app.domain.experiments import ExperimentStatus

        service = _service(container)
        runs = (await service.show(experiment_id)).status is ExperimentStatus.RUNNING and share is not None
        async with trail_of(container).change("experiment.change", experiment_id):
            return await service.change(experiment_id, status=None if runs else ExperimentStatus.RUNNING, share=share)

    _tell(run(work), as_json)


def pause(experiment_id: IdArgument, as_json: JsonFlag = False) -> None:
    """Take everybody out for a while; who was in an arm comes back into it."""
    _move(experiment_id, "paused", as_json)


def stop(experiment_id: IdArgument, as_json: JsonFlag = False) -> None:
    """End it for good."""
    _move(experiment_id, "stopped", as_json)


def results(experiment_id: IdArgument, as_json: JsonFlag = False) -> None:
    """Which arm is better, up to now."""

    async def work(container: Container) -> ExperimentResults:
        from app.bootstrap_evidence import make_results_reader

        return await make_results_reader(container).read(await _service(container).show(experiment_id))

    found = run(work)
    out = output(as_json)
    if found.is_split_broken and not as_json:
        out.note(f"the split is broken (p = {found.sample_ratio_p_value:.1e}): users were not assigned as planned")
    metrics = (found.experiment.primary_metric, *found.experiment.guardrail_metrics)
    rows = [
        (arm.name, metric.value, arm.users, arm.lists, _figure(arm.metrics[metric]), *_verdict(found, arm.name, metric))
        for arm in found.arms
        for metric in metrics
    ]
    columns = ("arm", "metric", "users", "lists", "value", "difference", "95 % at any time", "p at any time")
    out.table(msgspec.to_builtins(found), columns, rows)


def show_request(
    request_id: Annotated[str, typer.Argument(help="The request id of an answer.")], as_json: JsonFlag = False
) -> None:
    """One list as it was shown, with titles."""

    async def work(container: Container) -> tuple[RequestEntry | None, list[Item | None]]:
        entry = await container.database.request_log.get(request_id)
        shown = [] if entry is None else entry.items
        return entry, [await container.database.catalog.get_item(item.item_id) for item in shown]

    entry, items = run(work)
    if entry is None:
        fail("no such request in the log: it is not logged, too old, or its user was erased")
    titles = [None if item is None else item.title for item in items]
    rows = [
        (item.rank, item.item_id, title, f"{item.score:.4f}", item.source, item.propensity)
        for item, title in zip(entry.items, titles, strict=True)
    ]
    data = {**msgspec.to_builtins(entry), "user": None if entry.user is None else entry.user.hex(), "titles": titles}
    out = output(as_json)
    if not as_json:
        out.note(_about(entry))
    out.table(data, ("rank", "item", "title", "score", "source", "propensity"), rows)


def _about(entry: RequestEntry) -> str:
    model = "no model" if entry.model_version is None else f"model version {entry.model_version}"
    arm = "" if entry.variant is None else f", arm {entry.variant} of {entry.experiment_id}"
    fallback = "" if entry.fallback_reason is None else f", fallback: {entry.fallback_reason}"
    cached = "from a cache" if entry.from_cache else "computed"
    return (
        f"{entry.surface} at {entry.at.isoformat()}: {model}{arm}{fallback}, {cached} in {entry.seconds * 1e3:.1f} ms"
    )


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _verdict(found: ExperimentResults, arm: str, metric: Metric) -> tuple[str | None, str | None, str | None]:
    for one in found.comparisons:
        if (one.arm, one.metric) == (arm, metric) and one.comparison is not None:
            always = one.comparison.always
            return (
                f"{one.comparison.difference:+.4f}",
                f"{always.low:+.4f} to {always.high:+.4f}",
                f"{one.corrected_p_value:.4f}",
            )
    return None, None, None


def _service(container: Container) -> ExperimentService:
    from app.bootstrap import make_experiments

    return make_experiments(container)


def _move(experiment_id: str, status: str, as_json: bool) -> None:
    async def work(container: Container) -> Experiment:
        from app.domain.experiments import ExperimentStatus

        async with trail_of(container).change("experiment.change", experiment_id):
            return await _service(container).change(experiment_id, status=ExperimentStatus(status))

    _tell(run(work), as_json)


def _tell(experiment: Experiment, as_json: bool) -> None:
    shown = msgspec.to_builtins(experiment)
    output(as_json).result(shown, json.dumps(shown, indent=2, ensure_ascii=False))
