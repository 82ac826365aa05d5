"""`encore doctor` tries everything, waits for nothing for long, and says what to do."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from app.commands import ops
from app.commands.ops import CheckResult, check_database, check_training, doctor, run_checks
from app.config import Settings
from app.config_names import setting_name
from app.domain.exceptions import ConfigurationError, DatabaseUnavailableError
from app.infrastructure.database.migrate import migrate

SECRET = "kJ8#vQ2!pL5@xN9$wR3%tM7^zB1&hC4*"
SETTINGS = Settings(environment="test")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


async def check_fine(_settings: Settings) -> CheckResult:
    return CheckResult("fine", "ok", "answers")


async def check_frozen(_settings: Settings) -> CheckResult:
    await asyncio.sleep(60)
    return CheckResult("frozen", "ok", "too late")


async def check_model(_settings: Settings) -> CheckResult:
    raise DatabaseUnavailableError("the database at postgresql://u:canary-5f1c@db refused")


async def check_cache(_settings: Settings) -> CheckResult:
    raise ConfigurationError("ENCORE_CACHE_URL", "no adapter takes this scheme")


async def check_jobs(_settings: Settings) -> CheckResult:
    raise RuntimeError("canary-5f1c")


async def test_a_frozen_dependency_is_named_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "CHECK_TIMEOUT_SECONDS", 0.1)
    started = time.monotonic()
    fine, frozen = await run_checks(SETTINGS, (check_fine, check_frozen))
    assert time.monotonic() - started < 5
    assert (fine.status, frozen.status) == ("ok", "failed")
    assert frozen.name == "frozen"
    assert "no answer" in frozen.detail


async def test_each_kind_of_failure_has_its_advice_and_shows_no_secret() -> None:
    findings = await run_checks(SETTINGS, (check_model, check_cache, check_jobs))
    refusing, misconfigured, broken = findings
    assert "ENCORE_DATABASE_URL" in refusing.advice
    assert "correct ENCORE_CACHE_URL" in misconfigured.advice
    assert broken.detail == "RuntimeError"
    assert "canary" not in str(findings)


def test_every_check_has_a_setting_that_exists() -> None:
    names = {check.__name__.removeprefix("check_") for check in ops.CHECKS}
    assert names == set(ops.SETTING_OF)
    assert set(ops.SETTING_OF.values()) <= {setting_name(field) for field in Settings.model_fields}


async def test_a_database_without_tables_is_told_to_migrate(tmp_path: Path) -> None:
    settings = Settings(environment="test", database_url=f"sqlite+aiosqlite:///{tmp_path}/encore.db")
    before = (await run_checks(settings, (check_database,)))[0]
    assert (before.status, before.advice) == ("failed", "run `encore migrate`")
    await asyncio.to_thread(migrate, settings.database_url)
    after = (await run_checks(settings, (check_database,)))[0]
    assert (after.status, after.detail) == ("ok", "0 interactions")


async def test_missing_training_libraries_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await check_training(SETTINGS)).status == "ok"
    monkeypatch.setattr(ops, "TRAINING_LIBRARIES", ("no_such_library",))
    assert (await check_training(SETTINGS)).status == "warning"


async def test_a_transformer_that_is_asked_for_and_cannot_be_trained_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ops, "find_spec", lambda name: None if name == "torch" else name)
    asked = SETTINGS.model_copy(update={"train_transformer": "gpu"})
    finding = await check_training(asked)
    assert (finding.status, finding.detail) == ("warning", "not installed: torch, so the transformer is not tried")
    assert (await check_training(SETTINGS)).status == "ok"


def test_the_command_ends_with_1_when_something_failed_and_0_when_nothing_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENCORE_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/encore.db")
    monkeypatch.setenv("ENCORE_ARTIFACTS_URL", f"file:{tmp_path}/artifacts")
    monkeypatch.setenv("ENCORE_JWT_SECRET", SECRET)
    with pytest.raises(typer.Exit) as ended:
        doctor(as_json=True)
    assert ended.value.exit_code == 1
    assert json.loads(capsys.readouterr().out)["healthy"] is False

    migrate(f"sqlite+aiosqlite:///{tmp_path}/encore.db")
    doctor(as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is True
    assert {check["name"]: check["status"] for check in report["checks"]}["model"] == "warning"
