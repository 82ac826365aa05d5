"""The older systems' data moved to Encore as their pages say, trained by their schedule, served at their addresses.

    python -m benchmarks.compat [posts movies books] [--scale 1.0]

Per system: its tables are generated (movies: ml-latest-small where ENCORE_BENCH_DATA has it), taken in by the
lines of docs/migrate-SYSTEM.md under config/SYSTEM.yaml, trained on when its schedule is due, and every documented
request is asked and its answer checked field by field. One JSON line each; exit 1 where an answer is not as documented.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.compat_data import WRITE
from benchmarks.compat_requests import REQUESTS, Client
from benchmarks.machine import report

ROOT = Path(__file__).parents[1]
SECRET = "benchmark-h0rse-battery-staple-and-more"  # of a service that lives in a temporary folder for a minute


def main() -> int:
    """Move, train and ask; one line per system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", default=[], choices=[*WRITE, []])
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    wrong = 0
    for system in given.systems or list(WRITE):
        with tempfile.TemporaryDirectory() as folder:
            facts = moved(system, Path(folder), given.scale)
            problems = facts.pop("problems")
            report("compat", system, facts.pop("requests"), "requests as documented", problems=problems, **facts)
            wrong += len(problems)
    return 1 if wrong else 0


def moved(system: str, folder: Path, scale: float, budget_seconds: float | None = None) -> dict[str, Any]:
    """Everything for one system; facts and problems."""
    began = perf_counter()
    source = _movielens() if system == "movies" and scale >= 1.0 else None
    tables = folder if source is None else source
    rows: Mapping[str, int] = WRITE[system](folder, scale) if source is None else {}
    with settings_in(system, folder, budget_seconds):
        lines = import_lines(system)
        for line in lines:
            run_line(line, tables)
        job, lineage = asyncio.run(trained())
        imported = perf_counter() - began
        with served() as client:
            asked, problems = REQUESTS[system](client)
    return {
        "requests": asked,
        "problems": problems if job == "promoted" else [*problems, f"training {job}"],
        "rows": dict(rows) or str(source),
        "lines": len(lines),
        "members": sorted(lineage["recipe"]["parameters"].get("members", {})),
        "weights": lineage["recipe"]["parameters"].get("weights"),
        "seconds": round(imported, 1),
    }


def _movielens() -> Path | None:
    folder = Path(os.environ.get("ENCORE_BENCH_DATA", "")) / "ml-latest-small"
    return folder if "ENCORE_BENCH_DATA" in os.environ and folder.is_dir() else None


@contextmanager
def settings_in(system: str, folder: Path, budget_seconds: float | None) -> Iterator[None]:
    """The system's settings file, with addresses in this folder from the environment, which wins."""
    values = {
        "ENCORE_CONFIG_FILE": str(ROOT / "config" / f"{system}.yaml"),
        "ENCORE_ENVIRONMENT": "test",
        "ENCORE_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/encore.db",
        "ENCORE_ARTIFACTS_URL": f"file:{folder}/artifacts",
        "ENCORE_ARTIFACT_COPIES": str(folder / "copies"),
        "ENCORE_JWT_SECRET": SECRET,
        **({} if budget_seconds is None else {"ENCORE_TRAIN_TIME_BUDGET_SECONDS": str(budget_seconds)}),
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def import_lines(system: str) -> list[str]:
    """The import lines of the system's page."""
    page = (ROOT / "docs" / f"migrate-{system}.md").read_text(encoding="utf-8")
    return [line for line in page.splitlines() if line.startswith(("encore import", "encore migrate"))]


def run_line(line: str, tables: Path) -> None:
    """Run one line in this process, its files in `tables`. Raises RuntimeError where it is refused."""
    from typer.testing import CliRunner

    from app.cli import app

    words = [
        str(tables / word) if word.endswith(".csv") or word == "ml-latest-small" else word for word in shlex.split(line)
    ]
    arguments = [str(tables) if word.endswith("/ml-latest-small") else word for word in words[1:]]
    result = CliRunner().invoke(app, arguments)
    if result.exit_code:
        raise RuntimeError(f"{line}: {result.output}")


async def trained() -> tuple[str, Mapping[str, Any]]:
    """Let the schedule ask for a training, as a worker would run it; how it ended, and where the model comes from."""
    from app.bootstrap import make_scheduler, make_trainer, open_container
    from app.config import load_settings

    async with open_container(load_settings()) as container:
        scheduler = make_scheduler(container, {}, container.clock() - timedelta(days=1))
        training = scheduler.timetable.training
        assert training is not None
        job = await scheduler.train(training.latest(container.clock()))
        assert job is not None
        await container.jobs.close()
        ended = await make_trainer(container).run(job.training_id)
        model = None if ended.model_id is None else await container.database.models.get(ended.model_id)
        return ended.status.value, {} if model is None else model.lineage


@contextmanager
def served() -> Iterator[Client]:
    """A service over what there is, asked by an admin."""
    from starlette.testclient import TestClient

    from app.application.credentials import SCOPES, issue_token
    from app.config import load_settings
    from app.connecting import utc_now
    from app.main import create_app

    token = issue_token(SECRET, subject="boss", scopes=SCOPES, now=utc_now())
    with TestClient(create_app(load_settings())) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield Client(client)


if __name__ == "__main__":
    sys.exit(main())
