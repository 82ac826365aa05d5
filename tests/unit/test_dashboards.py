"""deploy/grafana: what is committed is what the script makes, and it asks for figures that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from app import telemetry
from scripts.dashboards import FOLDER, PLOTS, dashboard, expressions

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "recording.yml"


@pytest.mark.parametrize("name", PLOTS)
def test_the_committed_dashboard_is_what_the_script_makes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == dashboard(name), "python -m scripts.dashboards"


def test_ids_and_titles_are_unique_and_every_panel_has_a_place() -> None:
    made = [json.loads(dashboard(name)) for name in PLOTS]

    assert len({one["uid"] for one in made}) == len(PLOTS)
    for one in made:
        for field in ("id", "title"):
            values = [panel[field] for panel in one["panels"]]
            assert len(set(values)) == len(values)
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in one["panels"]}
        assert len(places) == len(one["panels"])


def test_every_figure_asked_for_is_one_of_the_service_or_of_the_rules() -> None:
    known = {sample for metric in telemetry.REGISTRY.collect() for sample in names_of(metric.name, metric.type)}
    recorded = {rule["record"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}

    for place, expression in expressions():
        asked = set(re.findall(r"\bencore[_:][a-z0-9_:]+", expression))
        assert asked, place
        assert asked <= known | recorded, (place, asked - known - recorded)


def names_of(name: str, kind: str) -> set[str]:
    """What the samples of a metric are called."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    return {name + suffix for suffix in suffixes.get(kind, ("",))}
