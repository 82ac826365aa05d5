"""Which artifacts may go: those of versions beyond the last few, and what trainings that died left behind."""

from __future__ import annotations

from app.domain.entities import FINAL_STATUSES
from app.domain.exceptions import UnavailableError
from app.domain.interfaces import ArtifactStore
from app.domain.stores import Database
from app.telemetry import BACKGROUND_FAILURES, get_logger

log = get_logger(__name__)

_LOOKED_AT = 1_000
"""Model rows read to learn which artifacts are referenced; folders of older ones were swept long ago."""


async def remove_old_artifacts(database: Database, artifacts: ArtifactStore, model_type: str, keep: int) -> int:
    """Remove what is no longer referenced; returns how many objects went.

    The database forgets a key before its objects go, so nothing that is referenced is ever missing. What an outage
    leaves over goes with the next training.
    """
    try:
        await database.models.retire_artifacts(model_type, keep)
        unwanted = await _unreferenced(database, artifacts, model_type)
        for key in unwanted:
            await artifacts.delete(key)
    except UnavailableError:
        # Safe to go on: the model is promoted; the rest is repeated by the next training.
        BACKGROUND_FAILURES.labels("retention").inc()
        log.warning("artifact_removal_postponed", model_type=model_type)
        return 0
    return len(unwanted)


async def _unreferenced(database: Database, artifacts: ArtifactStore, model_type: str) -> list[str]:
    """Keys whose folder no model row names, and whose training is known here and over."""
    referenced = {model.artifact_key for model in await database.models.list(model_type, _LOOKED_AT)}
    unwanted: list[str] = []
    over: dict[str, bool] = {}
    for key in await artifacts.list(f"models/{model_type}/"):
        folder = key.rpartition("/")[0]
        if folder in referenced:
            continue
        training_id = folder.rpartition("/")[2].partition("-")[2]
        if training_id not in over:
            job = await database.trainings.get(training_id)
            # A training we do not know belongs to another database that shares this store: not ours to remove.
            over[training_id] = job is not None and job.status in FINAL_STATUSES
        if over[training_id]:
            unwanted.append(key)
    return unwanted
