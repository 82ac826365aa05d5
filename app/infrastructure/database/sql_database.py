"""The opener: a URL in, a Database out."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.stores import Database
from app.infrastructure.breaker import Breaker
from app.infrastructure.database.api_keys import SqlApiKeyStore
from app.infrastructure.database.audit import SqlAuditStore
from app.infrastructure.database.canaries import SqlCanaryStore
from app.infrastructure.database.catalog import SqlCatalogStore
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.dead_letters import SqlDeadLetterStore
from app.infrastructure.database.dialects import choose_dialect
from app.infrastructure.database.experiments import SqlExperimentStore
from app.infrastructure.database.imports import SqlImportStore
from app.infrastructure.database.interactions import SqlInteractionStore
from app.infrastructure.database.model_versions import SqlModelStore
from app.infrastructure.database.outbox import SqlOutboxStore
from app.infrastructure.database.reports import SqlReportStore
from app.infrastructure.database.request_log import SqlRequestLogStore
from app.infrastructure.database.trainings import SqlTrainingStore


class SqlDatabase(Database):
    """Database on SQL: the stores share one pool."""

    def __init__(self, connections: Connections, *, lease_seconds: float) -> None:
        self._connections = connections
        self.interactions = SqlInteractionStore(connections)
        self.catalog = SqlCatalogStore(connections)
        self.trainings = SqlTrainingStore(connections, lease_seconds=lease_seconds)
        self.models = SqlModelStore(connections)
        self.canaries = SqlCanaryStore(connections)
        self.outbox = SqlOutboxStore(connections)
        self.dead_letters = SqlDeadLetterStore(connections)
        self.api_keys = SqlApiKeyStore(connections)
        self.reports = SqlReportStore(connections)
        self.experiments = SqlExperimentStore(connections)
        self.request_log = SqlRequestLogStore(connections)
        self.imports = SqlImportStore(connections)
        self.audit = SqlAuditStore(connections)

    async def ping(self) -> None:
        async with self._connections.low_latency() as connection:
            await connection.execute(sa.select(1))

    async def schema_is_current(self) -> bool:
        # Alembic is only needed here, and a consumer that was killed must be back soon.
        from app.infrastructure.database.migrate import applied_revision, newest_revision

        async with self._connections.read() as connection:
            return await connection.run_sync(applied_revision) == newest_revision()

    async def close(self) -> None:
        await self._connections.dialect.close()


async def open_database(url: str, *, pool_size: int, timeout_seconds: float, lease_seconds: float) -> Database:
    """The database a URL names. Nothing is connected yet, so a database that is down does not keep a process down.

    `pool_size` connections at most; every wait ends after `timeout_seconds`; `lease_seconds` is how long a training
    may be silent. Raises ConfigurationError for a URL that no adapter takes.
    """
    dialect = choose_dialect(url, pool_size=pool_size, timeout_seconds=timeout_seconds)
    # A file has no server that could be away; its locks are waited for, not avoided.
    breaker = None if dialect.name == "sqlite" else Breaker("database", pause_seconds=1.0)
    return SqlDatabase(Connections(dialect, breaker), lease_seconds=lease_seconds)
