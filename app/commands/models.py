"""`encore models`: the registry from the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from app.commands.audit import actor
from app.commands.shared import JsonFlag, output, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.bootstrap import Container
    from app.domain.canary import Canary
    from app.domain.entities import Champion, ModelVersion

_ROUNDING = 1e-9
TypeOption = Annotated[str | None, typer.Option("--type", help="Model type; default: ENCORE_TRAIN_MODEL_TYPE.")]
ModelArgument = Annotated[str, typer.Argument(help="A model id, or a version number of the type.")]


def register(app: typer.Typer) -> None:
    """Add `encore models …`."""
    models = typer.Typer(no_args_is_help=True, help="List, show, promote and roll back models.")
    app.add_typer(models, name="models")
    models.command("list")(list_models)
    models.command("show")(show_model)
    models.command("promote")(promote_model)
    models.command("rollback")(rollback_model)
    models.command("stop-canary")(stop_canary)


def list_models(
    model_type: Annotated[str | None, typer.Option("--type", help="Only models of this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 20,
    as_json: JsonFlag = False,
) -> None:
    """The newest models and what they scored."""

    async def work(container: Container) -> list[ModelVersion]:
        from app.bootstrap import make_registry

        return list(await make_registry(container).list(model_type, limit))

    found = run(work)
    columns = ("type", "version", "status", "ndcg@10", "recall@20", "trained", "model")
    output(as_json).table({"models": [as_json_object(model) for model in found]}, columns, [_line(m) for m in found])


def show_model(model: ModelArgument, model_type: TypeOption = None, as_json: JsonFlag = False) -> None:
    """Everything known about one model: metrics, lineage, artifact, and what happened to it since."""

    async def work(container: Container) -> dict[str, object]:
        from app.bootstrap import make_registry

        found = await _find(container, model, model_type)
        canary = await container.database.canaries.get(found.model_id)
        return {
            **as_json_object(found),
            "notes": dict(await make_registry(container).notes(found.model_id)),
            "canary": None if canary is None else msgspec.to_builtins(canary),
        }

    shown = run(work)
    output(as_json).result(shown, json.dumps(shown, indent=2, ensure_ascii=False))


def promote_model(
    model: ModelArgument,
    model_type: TypeOption = None,
    canary: Annotated[
        str | None, typer.Option(help="Give it this share of users first, as in 5%, and go on by what its lists do.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Shares of users in percent, as in 5,25,100.")] = None,
    hours: Annotated[float | None, typer.Option(help="Length of each step of a canary; default: 24.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a model the champion, at once or by way of a canary. Servers follow within seconds."""
    if canary is not None or steps is not None or hours is not None:
        _start_canary(model, model_type, _shares(canary, steps), hours, as_json=as_json)
        return

    async def work(container: Container) -> Champion:
        from app.bootstrap import make_registry

        found = await _find(container, model, model_type)
        return await make_registry(container).promote(found.model_id)

    _tell(run(work), as_json)


def rollback_model(model_type: TypeOption = None, as_json: JsonFlag = False) -> None:
    """Promote the model that was champion before the present one."""

    async def work(container: Container) -> Champion:
        from app.bootstrap import make_registry

        return await make_registry(container).rollback(model_type or container.settings.train_model_type)

    _tell(run(work), as_json)


def stop_canary(model: ModelArgument, model_type: TypeOption = None, as_json: JsonFlag = False) -> None:
    """Give the users of a canary back to the champion."""

    async def work(container: Container) -> Canary:
        from app.bootstrap import make_canaries

        found = await _find(container, model, model_type)
        return await make_canaries(container, actor()).stop(found.model_id)

    _tell_canary(run(work), as_json=as_json)


def _start_canary(
    model: str, model_type: str | None, shares: Sequence[float], hours: float | None, *, as_json: bool
) -> None:
    async def work(container: Container) -> Canary:
        from app.bootstrap import make_canaries
        from app.domain.canary import HOURS

        found = await _find(container, model, model_type)
        return await make_canaries(container, actor()).start(found.model_id, shares, HOURS if hours is None else hours)

    _tell_canary(run(work), as_json=as_json)


def _shares(canary: str | None, steps: str | None) -> Sequence[float]:
    """The shares of a canary from what was typed: percentages."""
    from app.domain.canary import STEPS

    first = None if canary is None else _percent(canary, "--canary")
    if steps is None:
        return STEPS if first is None else (first, *(share for share in STEPS if share > first))
    shares = [_percent(one, "--steps") for one in steps.split(",")]
    if first is not None and abs(first - shares[0]) > _ROUNDING:
        raise typer.BadParameter("the first step is another share than --canary", param_hint="--steps")
    return shares


def _percent(text: str, option: str) -> float:
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        raise typer.BadParameter("give percentages, as in 5% or 5,25,100", param_hint=option) from None
    if not 0 < share <= 1:
        raise typer.BadParameter("must be above 0 and at most 100", param_hint=option)
    return share


def _tell_canary(canary: Canary, *, as_json: bool) -> None:
    share = f"{canary.share:.2%} of users" if canary.share else "no users"
    data = {"canary": msgspec.to_builtins(canary)}
    output(as_json).result(data, f"model {canary.model_id}: canary {canary.status.value}, {share}")


async def _find(container: Container, name: str, model_type: str | None) -> ModelVersion:
    """The model of an id, or of a version number."""
    from app.bootstrap import make_registry

    registry = make_registry(container)
    if name.isdecimal():
        kind = model_type or container.settings.train_model_type
        for model in await registry.list(kind, 1_000):
            if model.version == int(name):
                return model
    return await registry.show(name)


def _tell(champion: Champion, as_json: bool) -> None:
    model = champion.model
    data = {"champion": as_json_object(model), "epoch": champion.epoch}
    output(as_json).result(data, f"{model.model_type} version {model.version} is the champion (model {model.model_id})")


def as_json_object(model: ModelVersion) -> dict[str, object]:
    """The model as JSON values."""
    return dict(msgspec.to_builtins(model))


def _line(model: ModelVersion) -> tuple[object, ...]:
    figures = model.metrics.get("quality")
    figures = figures if isinstance(figures, Mapping) else {}
    scores = (f"{figures[name]:.4f}" if name in figures else None for name in ("ndcg@10", "recall@20"))
    trained = model.created_at.strftime("%Y-%m-%d %H:%M")
    return (model.model_type, model.version, model.status.value, *scores, trained, model.model_id)
