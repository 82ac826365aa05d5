"""The Grafana dashboards, by code: `python -m scripts.dashboards` writes deploy/grafana/*.json.

A test compares what is committed with what this makes, and asks every expression of a real Prometheus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
WIDTH, HEIGHT = 8, 8
"""Of a panel; a dashboard is 24 wide."""

SECONDS, PER_SECOND, SHARE, COUNT, BYTES = "s", "ops", "percentunit", "short", "bytes"


@dataclass(frozen=True, slots=True)
class Plot:
    """One panel: an expression, what it means, and how its lines are called."""

    title: str
    unit: str
    expr: str
    legend: str = "all"
    meaning: str = ""


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Events a second."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def quantile(q: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram; without observations in the window it has no line."""
    labels = f"le, {by}" if by else "le"
    seen = f"sum by ({by}) (rate({metric}_count{{{where}}}[$__rate_interval])) > 0"
    on = f"on ({by})"
    return f"histogram_quantile({q}, {rate(metric + '_bucket', labels, where)}) and {on} ({seen})"


LISTS = 'route=~"/api/v1/recs/.*|/api/v1/items/.*",route!~".*/(train|models).*"'
TITLES: Mapping[str, str] = {
    "overview": "Overview",
    "lists": "Lists and cache",
    "ingestion": "Ingestion",
    "training": "Training and models",
    "experiments": "Experiments",
    "dependencies": "Dependencies",
}
PLOTS: Mapping[str, Sequence[Plot]] = {
    "overview": (
        Plot("Requests", PER_SECOND, rate("encore_http_requests_total", "status"), "{{status}}"),
        Plot("Lists, errors of 5xx", SHARE, "encore:list_errors:ratio_rate5m", meaning="The budget is 0.1 %."),
        Plot("Lists, 95 % within", SECONDS, "encore:list_seconds:p95_5m"),
        Plot("Freshness, 95 % within", SECONDS, "encore:freshness_seconds:p95_5m", "{{source}}"),
        Plot("Cache hits", SHARE, "encore:cache_hits:ratio_rate5m"),
        Plot("Fallbacks", SHARE, "encore:fallbacks:ratio_rate5m"),
        Plot("In flight", COUNT, "sum(encore_http_requests_in_flight)"),
        Plot("Event loop lag, 99 % within", SECONDS, quantile(0.99, "encore_event_loop_lag_seconds")),
        Plot(
            "Refused to keep others fast", PER_SECOND, rate("encore_http_requests_shed_total", "reason"), "{{reason}}"
        ),
    ),
    "lists": (
        Plot("Lists by type", PER_SECOND, rate("encore_lists_total", "type"), "{{type}}"),
        Plot("Fallbacks by reason", PER_SECOND, rate("encore_lists_total", "fallback"), "{{fallback}}"),
        Plot(
            "Routes, 95 % within",
            SECONDS,
            quantile(0.95, "encore_http_request_seconds", "route", LISTS),
            "{{route}}",
        ),
        Plot("Cache reads", PER_SECOND, rate("encore_cache_reads_total", "level, outcome"), "{{level}} {{outcome}}"),
        Plot(
            "Stages of a computed list, 95 % within",
            SECONDS,
            quantile(0.95, "encore_stage_seconds", "stage"),
            "{{stage}}",
        ),
        Plot("Bumps that failed", PER_SECOND, rate("encore_cache_bump_failures_total")),
        Plot(
            "Served model, lately", SHARE, "max by (model_type, what) (encore_served_share)", "{{model_type}} {{what}}"
        ),
        Plot("Rate limited", PER_SECOND, rate("encore_rate_limited_total", "scope"), "{{scope}}"),
    ),
    "ingestion": (
        Plot("Events", PER_SECOND, rate("encore_events_total", "source, outcome"), "{{source}} {{outcome}}"),
        Plot("Rejected", PER_SECOND, rate("encore_events_rejected_total", "source, reason"), "{{source}} {{reason}}"),
        Plot(
            "Batch into the database, 95 % within",
            SECONDS,
            quantile(0.95, "encore_ingest_seconds", "source"),
            "{{source}}",
        ),
        Plot("Consumer lag", COUNT, "sum by (topic) (encore_consumer_lag)", "{{topic}}"),
        Plot("Paused partitions", COUNT, "sum by (topic, reason) (encore_consumer_paused)", "{{topic}} {{reason}}"),
        Plot("Dead letters waiting", COUNT, "max(encore_dead_letters)"),
        Plot("Dead letters kept", BYTES, "max(encore_dead_letter_bytes)"),
        Plot("Outbox", COUNT, "max(encore_outbox_pending)"),
        Plot("Published", PER_SECOND, rate("encore_events_published_total", "topic, outcome"), "{{topic}} {{outcome}}"),
    ),
    "training": (
        Plot("Trainings", COUNT, "sum by (model_type, status) (encore_trainings_total)", "{{model_type}} {{status}}"),
        Plot(
            "Since the last promotion",
            SECONDS,
            'time() - max(encore_last_training_timestamp_seconds{status="promoted"})',
        ),
        Plot(
            "Training, half within", SECONDS, quantile(0.5, "encore_training_seconds", "model_type"), "{{model_type}}"
        ),
        Plot("Jobs waiting", COUNT, "max(encore_job_queue_depth)"),
        Plot("Version served", COUNT, "max by (model_type) (encore_model_version)", "{{model_type}}"),
        Plot(
            "Age of the served model",
            SECONDS,
            "time() - max by (model_type) (encore_model_created_timestamp_seconds)",
            "{{model_type}}",
        ),
        Plot(
            "Quality at training",
            SHARE,
            "max by (model_type, metric) (encore_model_quality)",
            "{{model_type}} {{metric}}",
        ),
        Plot(
            "Quality now",
            SHARE,
            "max by (model_type, metric) (encore_model_current_quality)",
            "{{model_type}} {{metric}}",
        ),
        Plot("Swaps", COUNT, "sum by (model_type, outcome) (encore_model_swaps_total)", "{{model_type}} {{outcome}}"),
        Plot(
            "Guardrail",
            COUNT,
            "sum by (model_type, outcome) (encore_guardrail_breaches_total)",
            "{{model_type}} {{outcome}}",
        ),
    ),
    "experiments": (
        Plot("Running", COUNT, "max(encore_experiments_running)"),
        Plot("Lists logged", PER_SECOND, rate("encore_requests_logged_total")),
        Plot("Lists not logged", PER_SECOND, rate("encore_requests_not_logged_total")),
        Plot("Entries removed by age", PER_SECOND, rate("encore_requests_pruned_total")),
    ),
    "dependencies": (
        Plot("Up", COUNT, "min by (dependency) (encore_dependency_up)", "{{dependency}}"),
        Plot("Breakers open", COUNT, "max by (dependency) (encore_breaker_open)", "{{dependency}}"),
        Plot("Failures of background loops", PER_SECOND, rate("encore_background_failures_total", "task"), "{{task}}"),
        Plot("Artifact copies", COUNT, "sum by (outcome) (encore_artifact_copies_total)", "{{outcome}}"),
        Plot("Artifacts refused", COUNT, "sum by (problem) (encore_artifact_refusals_total)", "{{problem}}"),
        Plot("Rows outside of partitions", COUNT, "max(encore_default_partition_rows)"),
    ),
}


def panel(number: int, plot: Plot) -> TimeSeries:
    """A panel with an id of its own: the SDK gives none."""
    query = Dataquery().expr(plot.expr).legend_format(plot.legend).datasource(SOURCE).ref_id("A")
    made = TimeSeries().id(number).title(plot.title).unit(plot.unit).datasource(SOURCE).with_target(query)
    return made.description(plot.meaning).span(WIDTH).height(HEIGHT)


def dashboard(name: str) -> str:
    """One dashboard as the JSON that is committed."""
    made = Dashboard(f"Encore: {TITLES[name]}").uid(f"encore-{name}").tags(["encore"]).refresh("30s")
    made = made.time("now-3h", "now").timezone("utc").editable()
    for number, plot in enumerate(PLOTS[name], start=1):
        made = made.with_panel(panel(number, plot))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def expressions() -> Sequence[tuple[str, str]]:
    """(dashboard and panel, expression) of every target, read from what is made."""
    return [
        (f"{name}: {one['title']}", target["expr"])
        for name in PLOTS
        for one in json.loads(dashboard(name))["panels"]
        for target in one["targets"]
    ]


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    for name in PLOTS:
        (FOLDER / f"{name}.json").write_text(dashboard(name), encoding="utf-8")


if __name__ == "__main__":
    main()
