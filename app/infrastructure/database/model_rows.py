"""Rows of model versions, and what of the registry other transactions need."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.entities import ModelStatus, ModelVersion
from app.infrastructure.database.counting import advance
from app.infrastructure.database.dialects import Dialect
from app.infrastructure.database.tables import model_versions

VERSION_COLUMNS = tuple(model_versions.c[field.name] for field in fields(ModelVersion))


def token_counter(model_type: str) -> str:
    """The counter that fencing tokens of a model type come from."""
    return f"token:{model_type}"


def version_counter(model_type: str) -> str:
    """The counter that version numbers of a model type come from."""
    return f"version:{model_type}"


def version_of(row: RowMapping) -> ModelVersion:
    """The version in a row that has at least VERSION_COLUMNS."""
    values: dict[str, Any] = {column.name: row[column.name] for column in VERSION_COLUMNS}
    return ModelVersion(**{**values, "status": ModelStatus(values["status"])})


async def find_version(connection: AsyncConnection, model_id: str) -> ModelVersion | None:
    """The version, or None."""
    query = sa.select(*VERSION_COLUMNS).where(model_versions.c.model_id == model_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else version_of(row)


async def insert_version(connection: AsyncConnection, dialect: Dialect, model: ModelVersion) -> ModelVersion:
    """Add a version in the caller's transaction; its number is the next of its type."""
    numbered = replace(model, version=await advance(connection, dialect, version_counter(model.model_type)))
    await connection.execute(sa.insert(model_versions), {**asdict(numbered), "status": numbered.status.value})
    return numbered


async def set_champion(connection: AsyncConnection, model: ModelVersion, at: datetime) -> None:
    """The old champion becomes retired, this one champion."""
    old = (model_versions.c.model_type == model.model_type) & (model_versions.c.status == ModelStatus.CHAMPION)
    await connection.execute(sa.update(model_versions).where(old).values(status=ModelStatus.RETIRED))
    this = model_versions.c.model_id == model.model_id
    promoted = {"status": ModelStatus.CHAMPION, "promoted_at": at}
    await connection.execute(sa.update(model_versions).where(this).values(promoted))
