"""Dockerfile and docker-compose.yml: what a reviewer would look for, checked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import COMMANDS
from app.config import Settings
from app.config_names import setting_name

ROOT = Path(__file__).parents[2]
COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if str(service["image"]).startswith("encore:")}
NOT_OURS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "OMP_NUM_THREADS"}


def test_hadolint_finds_nothing() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "hadolint", "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (linted.returncode, linted.stdout) == (0, "")


def test_both_images_run_as_a_user_without_rights() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    final = {stage.partition("\n")[0].split()[-1]: stage for stage in stages}

    assert "USER 10001:10001" in final["serve"]
    assert "USER 10001:10001" in final["train"]
    assert "USER 10001:10001" in final["console"]
    assert "runtime.txt" not in final["serve"] + final["build-serve"]


def test_the_image_that_serves_has_no_training_library() -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "serving.txt").read_text(), re.MULTILINE))

    assert {"fastapi", "asyncpg", "hiredis", "aiokafka", "boto3"} <= pinned
    assert pinned.isdisjoint({"implicit", "irspack", "rectools-lightfm", "scikit-learn", "torch", "optuna", "pyarrow"})


def test_the_console_knows_the_api_and_no_server_behind_it() -> None:
    known = set(OURS["dashboard"]["environment"])

    assert known == {f"ENCORE_DASHBOARD_{name}" for name in ("API_URL", "OPERATIONS_URL", "API_KEY")}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_version_and_everything_it_waits_for_exists(name: str) -> None:
    service = SERVICES[name]
    image, _, tag = str(service["image"]).rpartition(":")
    assert image
    assert tag not in ("", "latest")
    for other, how in service.get("depends_on", {}).items():
        needed = SERVICES[other]
        match how["condition"]:
            case "service_healthy":
                assert needed["healthcheck"]["test"]
            case "service_completed_successfully":
                assert needed["restart"] == "no"
            case condition:
                pytest.fail(f"{name} waits for {other} by {condition}")


@pytest.mark.parametrize("name", OURS)
def test_our_processes_are_commands_with_known_settings_and_no_rights(name: str) -> None:
    service = OURS[name]
    known = {setting_name(field) for field in Settings.model_fields} | NOT_OURS

    assert service["command"][0] in COMMANDS
    assert set(service["environment"]) <= known
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["build"]["target"] == service["image"].partition(":")[2]


def test_no_secret_is_written_down() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD", name):
                assert str(value).startswith("${"), name
                assert ":?" in value, name


def test_every_file_that_is_mounted_exists() -> None:
    mounted = [str(volume) for service in SERVICES.values() for volume in service.get("volumes", ())]
    ours = [volume.partition(":")[0] for volume in mounted if volume.startswith("./")]

    assert len(ours) == 5
    assert all((ROOT / path).exists() for path in ours)


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
