"""The newest reports as metrics, in every process that is scraped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from app import telemetry
from app.application.reporting.reporter import BY_MODEL, EVALUATION, KPIS
from app.domain.exceptions import UnavailableError
from app.domain.reports import Report
from app.domain.stores import Database

PERIOD_SECONDS = 30.0
"""Reports are made every few minutes at most."""


async def watch_reports(database: Database, period_seconds: float = PERIOD_SECONDS) -> None:
    """Keep the gauges current until cancelled; while the database is away they keep their last value."""
    while True:
        try:
            show_kpis(await database.reports.latest(KPIS))
            show_quality(await database.reports.latest(EVALUATION))
        except UnavailableError:
            telemetry.BACKGROUND_FAILURES.labels("report_gauges").inc()
        await asyncio.sleep(period_seconds)


def show_kpis(report: Report | None) -> None:
    """Figures without a value (a mean of nothing) are not shown."""
    if report is None or report.made_at is None:
        return
    telemetry.KPI_MADE.set(report.made_at.timestamp())
    for figure, value in _numbers(report.figures).items():
        telemetry.KPI.labels(figure).set(value)
    _show_lists(report.figures.get(BY_MODEL))


def _show_lists(rows: object) -> None:
    """The newest day of each model version; versions of earlier reports are forgotten."""
    telemetry.MODEL_KPI.clear()
    shown: set[object] = set()
    for row in rows if isinstance(rows, list) else ():
        version = row["version"]
        if version is None or row["model_id"] in shown:
            continue
        shown.add(row["model_id"])
        for figure, value in _numbers(row).items():
            if figure != "version":
                telemetry.MODEL_KPI.labels(row["model_id"], str(version), figure).set(value)


def show_quality(report: Report | None) -> None:
    """The champion of that report, judged on the hold-out of that day."""
    quality = report.figures.get("quality") if report is not None else None
    if report is None or report.made_at is None or not isinstance(quality, Mapping):
        return
    model_type = str(report.figures["model_type"])
    telemetry.MODEL_EVALUATED.labels(model_type).set(report.made_at.timestamp())
    for metric, value in _numbers(quality).items():
        telemetry.MODEL_CURRENT_QUALITY.labels(model_type, metric).set(value)


def _numbers(figures: Mapping[str, object]) -> Mapping[str, float]:
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
