"""deploy/prometheus and deploy/alertmanager: rules of metrics that exist, each alert tested and explained."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import telemetry

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: Sequence[Mapping[str, Any]] = [
    rule
    for name in ("recording.yml", "alerts.yml")
    for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def tool(name: str) -> str:
    """The program of Debian's packages `prometheus` and `prometheus-alertmanager`; must be there in CI."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: .ci/run installs it")
        pytest.skip(f"{name} is missing: apt-get install prometheus prometheus-alertmanager")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exported() -> set[str]:
    """The names of all time series that our metrics make."""
    names = set()
    for family in telemetry.REGISTRY.collect():
        suffixes = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def test_promtool_accepts_the_rules_and_their_tests_pass() -> None:
    promtool = tool("promtool")

    run(promtool, "check", "rules", PROMETHEUS / "recording.yml", PROMETHEUS / "alerts.yml")
    run(promtool, "test", "rules", *(PROMETHEUS / "tests").glob("*.yml"))


def test_an_alert_that_never_fires_fails_its_test(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    alerts = tmp_path / "prometheus" / "alerts.yml"
    content = yaml.safe_load(alerts.read_text())
    for rule in content["groups"][0]["rules"]:
        rule["expr"] = "vector(1) > 2"
    alerts.write_text(yaml.safe_dump(content))

    tested = subprocess.run(
        [tool("promtool"), "test", "rules", tmp_path / "prometheus" / "tests" / "alerts.yml"],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert tested.returncode == 1
    assert set(re.findall(r"alertname: (\w+), time", tested.stdout + tested.stderr)) == set(ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_ask_for_metrics_that_exist(rule: Mapping[str, Any]) -> None:
    asked = set(re.findall(r"\bencore[a-z0-9_:]+", re.sub(r'"[^"]*"', "", rule["expr"])))

    assert asked - exported() - RECORDED == set()


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_and_has_a_page_in_the_runbook(name: str) -> None:
    alert = ALERTS[name]
    runbook = (ROOT / "docs" / "runbooks" / "alerts.md").read_text()
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", runbook, re.MULTILINE | re.DOTALL)

    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/alerts.md#{name.lower()}"
    assert section is not None
    assert len(section[1].split()) > 25, "a section says what it means, where to look and what to do"


@pytest.mark.parametrize(
    ("severity", "receiver"), [("page", "pager"), ("ticket", "tickets"), ("unheard-of", "tickets")]
)
def test_alerts_reach_whoever_they_are_for(severity: str, receiver: str) -> None:
    config = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
    amtool = tool("amtool")

    run(amtool, "check-config", config)
    run(
        amtool,
        "config",
        "routes",
        "test",
        f"--config.file={config}",
        f"--verify.receivers={receiver}",
        f"severity={severity}",
    )
