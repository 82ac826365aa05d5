"""`encore config` and `encore doctor`: what is in force, and whether everything it names can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from app.commands.shared import FAILED, JsonFlag, exit_on_error, output, prepare, print_table
from app.domain.exceptions import ConfigurationError, EncoreError, UnavailableError
from app.domain.masking import masked

if TYPE_CHECKING:  # loading the adapters is the work of `encore doctor`, not of `encore config`
    from app.config import Settings

CHECK_TIMEOUT_SECONDS = 8.0
"""Longer than any adapter's own timeout, so that the adapter's clearer error comes first."""

TRAINING_LIBRARIES = ("irspack", "implicit", "lightfm")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was tried: `status` is ok, warning or failed; `advice` says what to do."""

    name: str
    status: str
    detail: str
    advice: str = ""


DoctorCheck = Callable[["Settings"], Awaitable[CheckResult]]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("config")(show_config)
    app.command("doctor")(doctor)


def show_config(as_json: JsonFlag = False) -> None:
    """Show the settings in force and where each comes from, secrets masked."""
    with exit_on_error():
        from app.config_listing import described

        settings = described(prepare())
        rows = [(name, entry["value"], entry["source"]) for name, entry in settings.items()]
        output(as_json).table({"settings": settings}, ("setting", "value", "from"), rows)


def doctor(as_json: JsonFlag = False) -> None:
    """Try every dependency, each within a few seconds, and say what to do. Exit 1 if one failed."""
    with exit_on_error():
        settings = prepare()
        findings = asyncio.run(run_checks(settings, CHECKS))
        failed = any(finding.status == "failed" for finding in findings)
        output(as_json).result(
            {"healthy": not failed, "checks": [asdict(finding) for finding in findings]}, lambda: _print(findings)
        )
    if failed:
        raise typer.Exit(FAILED)


async def run_checks(settings: Settings, checks: Sequence[DoctorCheck]) -> Sequence[CheckResult]:
    """Run all checks at once; one that hangs is abandoned, not awaited: it may be stuck in a driver for minutes."""
    tasks = [asyncio.ensure_future(check(settings)) for check in checks]
    await asyncio.wait(tasks, timeout=CHECK_TIMEOUT_SECONDS)
    return [_conclusion(task, check) for task, check in zip(tasks, checks, strict=True)]


def _conclusion(task: asyncio.Future[CheckResult], check: DoctorCheck) -> CheckResult:
    name = check.__name__.removeprefix("check_")
    if not task.done():
        task.cancel()
        return CheckResult(
            name, "failed", f"no answer within {CHECK_TIMEOUT_SECONDS:.0f} s", "is it frozen, or is a firewall silent?"
        )
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, EncoreError):
        return CheckResult(name, "failed", masked(str(error)), _advice(name, error))
    return CheckResult(name, "failed", type(error).__name__, _advice(name, error))


SETTING_OF = {
    "credentials": "ENCORE_JWT_SECRET",
    "database": "ENCORE_DATABASE_URL",
    "cache": "ENCORE_CACHE_URL",
    "artifacts": "ENCORE_ARTIFACTS_URL",
    "events": "ENCORE_EVENTS_URL",
    "jobs": "ENCORE_JOBS_URL",
    "model": "ENCORE_DATABASE_URL",
    "training": "ENCORE_TRAIN_TRANSFORMER",
}
"""Check → the setting that names what it tries. The model is a row of the database."""


def _advice(name: str, error: BaseException) -> str:
    setting = SETTING_OF[name]
    if isinstance(error, ConfigurationError):
        return f"correct {error.setting} (`encore config` shows what is in force)"
    if isinstance(error, UnavailableError):
        return f"is it running, and is {setting} its address? names, ports and passwords are all in that URL"
    if isinstance(error, ImportError):
        return f"the driver for {setting} is not installed: install the matching extra"
    return f"check {setting}"


async def check_credentials(settings: Settings) -> CheckResult:
    """Is there something to verify tokens with?"""
    from app.config import require_credentials

    try:
        require_credentials(settings)
    except ConfigurationError as error:
        advice = "needed by `encore serve` and `encore token`; `openssl rand -base64 48` makes a good secret"
        return CheckResult("credentials", "warning", str(error), advice)
    kind = "shared secret (HS256)" if settings.jwt_secret is not None else "public keys (JWKS)"
    return CheckResult("credentials", "ok", kind)


async def check_database(settings: Settings) -> CheckResult:
    """Does it answer, and is its schema the one of this code?"""
    from app.connecting import connect_database

    database = await connect_database(settings)
    try:
        await database.ping()
        if not await database.schema_is_current():
            return CheckResult("database", "failed", "the schema is missing or not current", "run `encore migrate`")
        if misplaced := await database.interactions.misplaced():
            detail = f"{misplaced:,} interactions lie in the default partition"
            return CheckResult("database", "warning", detail, "move them to partitions of their months, or delete them")
        return CheckResult("database", "ok", f"{await database.interactions.count():,} interactions")
    finally:
        await database.close()


async def check_cache(settings: Settings) -> CheckResult:
    """Does it answer?"""
    from app.connecting import connect_cache

    cache = await connect_cache(settings)
    try:
        await cache.ping()
    finally:
        await cache.close()
    return CheckResult("cache", "ok", "answers")


async def check_artifacts(settings: Settings) -> CheckResult:
    """Does it answer?"""
    from app.connecting import connect_artifacts

    artifacts = await connect_artifacts(settings)
    try:
        await artifacts.ping()
    finally:
        await artifacts.close()
    return CheckResult("artifacts", "ok", "answers")


async def check_events(settings: Settings) -> CheckResult:
    """Does the broker answer?"""
    from app.connecting import connect_publisher

    publisher = await connect_publisher(settings)
    try:
        await publisher.ping()
    finally:
        await publisher.close()
    return CheckResult("events", "ok", "answers")


async def check_jobs(settings: Settings) -> CheckResult:
    """Does the job queue answer?"""
    from app.connecting import connect_jobs

    jobs = await connect_jobs(settings)
    try:
        waiting = await jobs.depth()
    finally:
        await jobs.close()
    return CheckResult("jobs", "ok", f"{waiting} waiting")


async def check_model(settings: Settings) -> CheckResult:
    """Is there a champion to serve?"""
    from app.connecting import connect_database

    database = await connect_database(settings)
    try:
        champion = await database.models.champion(settings.train_model_type)
    finally:
        await database.close()
    if champion is None:
        return CheckResult("model", "warning", "no model yet: lists fall back to what is popular", "run `encore train`")
    return CheckResult("model", "ok", f"{champion.model.model_type} version {champion.model.version}")


async def check_training(settings: Settings) -> CheckResult:
    """Are the libraries there that trainings need?"""
    missing = [library for library in TRAINING_LIBRARIES if find_spec(library) is None]
    if missing:
        return CheckResult(
            "training",
            "warning",
            f"not installed: {', '.join(missing)}",
            "fine where nothing is trained; else extra `train`",
        )
    if settings.train_transformer != "never" and find_spec("torch") is None:
        advice = "install the extra `torch`, or set ENCORE_TRAIN_TRANSFORMER to never"
        return CheckResult("training", "warning", "not installed: torch, so the transformer is not tried", advice)
    return CheckResult("training", "ok", "libraries installed")


CHECKS: tuple[DoctorCheck, ...] = (
    check_credentials,
    check_database,
    check_cache,
    check_artifacts,
    check_events,
    check_jobs,
    check_model,
    check_training,
)


def _print(findings: Sequence[CheckResult]) -> None:
    print_table(("check", "status", "detail", "what to do"), [(f.name, f.status, f.detail, f.advice) for f in findings])
