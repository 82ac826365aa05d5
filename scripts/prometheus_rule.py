"""The rules of deploy/prometheus as one PrometheusRule for the Prometheus operator, on stdout."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from scripts.requirements_in_step import ROOT

FILES = ("recording.yml", "alerts.yml")


def prometheus_rule() -> dict[str, Any]:
    """The object; its groups are those of the files, as they are."""
    groups = [
        group
        for name in FILES
        for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / name).read_text())["groups"]
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "encore", "labels": {"app.kubernetes.io/name": "encore"}},
        "spec": {"groups": groups},
    }


if __name__ == "__main__":
    yaml.safe_dump(prometheus_rule(), sys.stdout, sort_keys=False, allow_unicode=True)
