"""`encore models`: the registry from the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from app.commands.audit import trail_of
from app.commands.shared import JsonFlag, output, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.bootstrap import Container
    from app.domain.entities import Champion, ModelVersion

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
        return {**as_json_object(found), "notes": dict(await make_registry(container).notes(found.model_id))}

    shown = run(work)
    output(as_json).result(shown, json.dumps(shown, indent=2, ensure_ascii=False))


def promote_model(model: ModelArgument, model_type: TypeOption = None, as_json: JsonFlag = False) -> None:
    """Make a model the champion, after proving that its artifact loads. Servers follow within seconds."""

    async def work(container: Container) -> Champion:
        from app.bootstrap import make_registry

        found = await _find(container, model, model_type)
        async with trail_of(container).change("model.promote", found.model_id):
            return await make_registry(container).promote(found.model_id)

    _tell(run(work), as_json)


def rollback_model(model_type: TypeOption = None, as_json: JsonFlag = False) -> None:
    """Promote the model that was champion before the present one."""

    async def work(container: Container) -> Champion:
        from app.bootstrap import make_registry

        wanted = model_type or container.settings.train_model_type
        async with trail_of(container).change("model.rollback", wanted):
            return await make_registry(container).rollback(wanted)

    _tell(run(work), as_json)


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
