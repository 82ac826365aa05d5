"""One run of a report: claim the slot, work the figures out, store them. Rung for as `kpis@2026-11-21T00:15+00:00`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.application.reporting.kpis import kpis_of
from app.application.reporting.model_quality import ModelEvaluator
from app.application.training.training_records import quality
from app.domain.exceptions import EncoreError, InputError, NotFoundError, UnavailableError
from app.domain.reports import Report
from app.domain.stores import CatalogStore, Database
from app.telemetry import get_logger

log = get_logger(__name__)

KPIS, EVALUATION, PRECOMPUTE = "kpis", "evaluation", "precompute"
REPORT_NAMES = (KPIS, EVALUATION, PRECOMPUTE)
_PAGE = 2_000


def job_name(name: str, slot: datetime) -> str:
    """What the job queue is rung with."""
    return f"{name}@{slot.isoformat()}"


def parse_job(job: str) -> tuple[str, datetime] | None:
    """The report and slot a job names; None for a training's id. Raises InputError for a report nobody knows."""
    name, at, text = job.partition("@")
    if not at:
        return None
    try:
        slot = datetime.fromisoformat(text)
    except ValueError:
        raise InputError("no such slot") from None
    if name not in REPORT_NAMES or slot.tzinfo is None:
        raise InputError("no such report")
    return name, slot


@dataclass(frozen=True, slots=True)
class Reporter:
    """Works reports out, whoever rings. `kpi_days` is the window of the KPIs."""

    database: Database
    judge: ModelEvaluator
    clock: Callable[[], datetime]
    model_type: str
    kpi_days: int

    async def run(self, name: str, slot: datetime) -> Report | None:
        """The report, stored; None where another process has it in hand or is done. Raises UnavailableError.

        What keeps the figures from being worked out (no champion, too few events) is stored in their place, as
        `problem`: the slot is done, and the next one tries again.
        """
        claimed_at = self.clock()
        if not await self.database.reports.claim(name, slot, claimed_at):
            return None
        model_id: str | None = None
        try:
            model_id, figures = await (self._evaluation() if name == EVALUATION else self._kpis())
        except UnavailableError:
            raise
        except EncoreError as error:
            figures = {"problem": str(error)}
        report = Report(name, slot, claimed_at, self.clock(), model_id, figures)
        await self.database.reports.finish(report)
        log.info("report_made", report=name, slot=slot.isoformat(), problem=figures.get("problem"))
        return report

    async def _kpis(self) -> tuple[None, Mapping[str, object]]:
        now = self.clock()
        columns = await self.database.interactions.columns(now - timedelta(days=self.kpi_days), now)
        return None, kpis_of(columns, await _item_ids(self.database.catalog), now, self.kpi_days)

    async def _evaluation(self) -> tuple[str, Mapping[str, object]]:
        champion = await self.database.models.champion(self.model_type)
        if champion is None:
            raise NotFoundError("champion")
        measured = await self.judge.measure(champion.model, _no_op_listener)
        figures = {
            "model_type": self.model_type,
            "version": champion.model.version,
            "judged_as": measured.judged_as,
            "users": len(measured.evaluation.users),
            "quality": quality(measured.evaluation),
            "popularity": quality(measured.found["popularity"]),
        }
        return champion.model.model_id, figures


def _no_op_listener(stage: str, fraction: float) -> None:
    """Nobody watches the progress of a report."""


async def _item_ids(catalog: CatalogStore) -> set[str]:
    ids: set[str] = set()
    after: str | None = None
    while page := await catalog.list_items(after, _PAGE):
        ids.update(item.item_id for item in page)
        after = page[-1].item_id
    return ids
