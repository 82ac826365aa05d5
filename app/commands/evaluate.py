"""`encore evaluate`: a model on the current hold-out, the default pipeline on anybody's files, or a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.shared import JsonFlag, Output, exit_on_error, fail, output, print_table, progress
from app.domain.exceptions import InputError

if TYPE_CHECKING:  # loading the numerical libraries is the work of the command, not of `encore --help`
    from app.commands.evaluation_files import Files

File = Path | None


def register(app: typer.Typer) -> None:
    """Add `encore evaluate`."""
    app.command("evaluate")(evaluate)


def evaluate(
    train: Annotated[File, typer.Option(help="Interactions to learn from (CSV, JSONL, Parquet).")] = None,
    test: Annotated[File, typer.Option(help="Interactions to find: user_id, item_id.")] = None,
    items: Annotated[File, typer.Option(help="Catalog: item_id, title, genres, tags, year, …")] = None,
    users: Annotated[File, typer.Option(help="Profiles: user_id and attributes.")] = None,
    negatives: Annotated[
        File, typer.Option(help="user, test item, its negatives; tab-separated, one user a line.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="For example recall@20,ndcg@20.")] = "",
    model_type: Annotated[str, typer.Option("--type", help="hybrid, or a single recommender.")] = "hybrid",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Repeat with seeds 0, 1, …")] = 1,
    budget: Annotated[float, typer.Option(min=1, help="Processor seconds for choosing the recipe.")] = 120.0,
    benchmark: Annotated[str, typer.Option(help="Q1 … Q7 (data: ENCORE_BENCH_DATA).")] = "",
    model: Annotated[str, typer.Option(help="A model id; default: the champion.")] = "",
    fold_in: Annotated[bool, typer.Option("--fold-in", help="Judge fold-in against a refit.")] = False,
    seen: Annotated[
        str, typer.Option(help="Test pairs that the user has in --train: drop, count-as-miss or may-return.")
    ] = "drop",
    report: Annotated[File, typer.Option(help="Also write a report (.json or .html).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure. With --train and --test: fit the default pipeline and rank for the users of the test."""
    out = output(as_json)
    with exit_on_error():
        began = monotonic()
        if benchmark:
            result = _benchmark(benchmark, seeds, out)
        elif train is not None and test is not None:
            from app.commands.evaluation_files import Files

            files = Files(train, test, items, users, negatives)
            result = _on_files(files, _names(metrics), model_type, seeds, budget, fold_in=fold_in, seen=seen)
        elif train is not None or test is not None:
            raise InputError("--train and --test belong together")
        else:
            from app.commands.evaluation_registry import evaluate_model

            result = evaluate_model(model or None, _names(metrics), fold_in=fold_in)
        result["seconds_total"] = round(monotonic() - began, 1)
        if report is not None:
            from app.commands.evaluation_report import write_report

            write_report(report, result)
        out.result(result, lambda: show(result))
        if result.get("passed") is False:
            fail(f"{benchmark}: " + "; ".join(str(one) for one in _sequence(result.get("missed"))))


def _names(text: str) -> tuple[str, ...]:
    from app.domain.metrics import parse_metric

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        parse_metric(name)
    return names


def _benchmark(name: str, seeds: int, out: Output) -> dict[str, object]:
    from app.commands.quality.table import BENCHMARKS, run_benchmark

    if name.upper() not in BENCHMARKS:
        raise InputError(f"the benchmarks are {', '.join(BENCHMARKS)}")
    out.note(BENCHMARKS[name.upper()].what)
    with progress(name) as bar:
        return run_benchmark(name.upper(), seeds, None, bar.update)


def _on_files(
    files: Files, names: Sequence[str], model_type: str, seeds: int, budget: float, *, fold_in: bool, seen: str
) -> dict[str, object]:
    from app.application.evaluation.hold_out import SEEN
    from app.commands.evaluation_files import run_on_files

    if seen not in SEEN:
        raise InputError(f"--seen is one of {', '.join(SEEN)}", "seen")
    with progress("evaluate") as bar:
        return run_on_files(
            files,
            names=names,
            model_type=model_type,
            seeds=seeds,
            budget_seconds=budget,
            fold_in=fold_in,
            seen=seen,
            progress=bar.update,
        )


def show(result: Mapping[str, object]) -> None:
    """For people: figures first, then how they came about."""
    if "benchmark" in result:
        _show_benchmark(result)
        return
    judged = _mapping(result.get("recommenders"))
    names = list(_mapping(next(iter(judged.values()), {})).get("metrics", {}))  # type: ignore[call-overload] # a mapping
    rows = [
        [label, *(_cell(_mapping(_mapping(one)["metrics"])[name]) for name in names)] for label, one in judged.items()
    ]
    print_table(["recommender", *names], rows)
    for label in ("data", "recipe", "fold_in", "seconds", "peak_megabytes", "threads"):
        if label in result:
            typer.echo(f"{label}: {result[label]}")


def _show_benchmark(result: Mapping[str, object]) -> None:
    measured = _mapping(result["measured"])
    columns = ["", *measured]
    figures = {"measured": measured, "must": result["must"], "moonshot": result["moonshot"]}
    figures |= _mapping(result["beside"])
    rows: list[list[object]] = [[label, *map(_mapping(one).get, measured)] for label, one in figures.items()]
    for label, values in _mapping(result["published"]).items():
        published = _sequence(values)
        rows.append([label, *published, *([None] * (len(measured) - len(published)))])
    print_table(columns, rows)
    for label in (
        "seconds",
        "seconds_limit",
        "peak_megabytes",
        "megabytes_limit",
        "stages",
        "threads",
        "recipe",
        "missed",
    ):
        typer.echo(f"{label}: {result[label]}")


def _cell(figure: object) -> str:
    found = _mapping(figure)
    return f"{found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()
