"""`encore kpis`: what people did in the last days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.shared import JsonFlag, fail, output, print_table, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.bootstrap import Container
    from app.domain.reports import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("kpis")(kpis)


def kpis(
    now: Annotated[bool, typer.Option("--now", help="Work them out now instead of showing the last report.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """What people did, and what lists did by day and model: the last report, or made now without one."""
    report = run(lambda container: _report(container, is_new=now))
    if report is None:
        fail("another process is working them out: ask again")
    made_at = None if report.made_at is None else report.made_at.isoformat()
    data = {"slot": report.slot.isoformat(), "made_at": made_at, "figures": dict(report.figures)}
    output(as_json).result(data, lambda: _print(report.figures))


def _print(figures: Mapping[str, object]) -> None:
    lists = figures.get("lists_by_day_and_model")
    rows = [(name.replace("_", " "), _shown(value)) for name, value in figures.items() if value is not lists]
    print_table(("figure", "value"), rows)
    if isinstance(lists, list) and lists:
        columns = [name for name in lists[0] if name != "model_id"]
        typer.echo()
        print_table([name.replace("_", " ") for name in columns], [_line(row, columns) for row in lists])


def _line(row: Mapping[str, object], columns: Sequence[str]) -> list[str | None]:
    return [_shown(row[name]) for name in columns]


async def _report(container: Container, *, is_new: bool) -> Report | None:
    from app.application.reporting.reporter import KPIS
    from app.bootstrap import make_reporter

    if not is_new and (latest := await container.database.reports.latest(KPIS)) is not None:
        return latest
    return await make_reporter(container).run(KPIS, container.clock())


def _shown(value: object) -> str | None:
    """Whole numbers without a point, others with four digits."""
    if not isinstance(value, int | float):
        return None if value is None else str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4f}"
