"""Every metric (name, kind, meaning), the stages of a list and loggers, in one place."""

from __future__ import annotations

import hashlib
from functools import cache
from time import perf_counter
from types import TracebackType

import structlog
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)

from app import spans

REGISTRY = CollectorRegistry(auto_describe=True)
"""What /metrics shows: ours and the process's own figures."""

for _collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
    REGISTRY.register(_collector)

_FAST = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.2, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FRESH = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LONG = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1_280.0, 3_600.0)
_TENTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"encore_{name}", meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(f"encore_{name}", meaning, labels, registry=REGISTRY)


def _histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = _FAST) -> Histogram:
    return Histogram(f"encore_{name}", meaning, labels, registry=REGISTRY, buckets=buckets)


# ── requests: `route` is the template (/api/v1/recs/{user_id}), never the path ──────────────────────────────────────
REQUESTS = _counter("http_requests_total", "Requests answered.", "method", "route", "status")
REQUEST_SECONDS = _histogram("http_request_seconds", "From the first byte in to the last byte out.", "method", "route")
REQUESTS_IN_FLIGHT = _gauge("http_requests_in_flight", "Requests being answered now.")
BODIES_UNDER_WAY = _gauge("http_bodies_under_way", "Request bodies that have begun to come and are not whole.")
REQUESTS_SHED = _counter("http_requests_shed_total", "Requests refused to keep the others fast.", "reason")
RATE_LIMITED = _counter("rate_limited_total", "Requests answered 429.", "scope")
AUTHENTICATION_FAILURES = _counter("authentication_failures_total", "Requests answered 401 or 403.", "reason")

# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────
LISTS = _counter("lists_total", "Lists answered; fallback is the reason, or none.", "type", "fallback")
CACHE_READS = _counter("cache_reads_total", "Lookups; level memory or shared; hit, miss or error.", "level", "outcome")
CACHE_BUMP_FAILURES = _counter("cache_bump_failures_total", "Generation bumps that failed and are retried.")
PRECOMPUTED = _counter(
    "lists_precomputed_total", "Lists of active users made before they asked: made or held.", "outcome"
)
STAGE_SECONDS = _histogram(
    "stage_seconds", "One stage of a list: history, rank (of it: candidates, score, rerank) or render.", "stage"
)

# ── freshness and ingestion ──────────────────────────────────────────────────────────────────────────────────────────
FRESHNESS_SECONDS = _histogram(
    "freshness_seconds", "From receiving an event to the moment its user's list can change.", "source", buckets=_FRESH
)
EVENTS = _counter("events_total", "Events by source (http, kafka, file) and outcome.", "source", "outcome")
EVENTS_REJECTED = _counter("events_rejected_total", "Events that could not be taken in, by reason.", "source", "reason")
INGEST_SECONDS = _histogram("ingest_seconds", "One batch of events into the database.", "source")
DEAD_LETTERS = _gauge("dead_letters", "Dead letters waiting for a human.")
DEAD_LETTERS_HELD = _gauge("dead_letters_held", "Dead letters kept, replayed ones included.")
DEAD_LETTER_BYTES = _gauge("dead_letter_bytes", "Bytes of payload that dead letters keep.")
DEAD_LETTERS_DROPPED = _counter("dead_letters_dropped_total", "Dead letters deleted: too old, or too many.", "cause")
CONSUMER_LAG = _gauge("consumer_lag", "Records behind the end of the partition.", "topic", "partition")
CONSUMER_PAUSED = _gauge("consumer_paused", "1 while a partition is paused, by reason.", "topic", "partition", "reason")
CONSUMER_REBALANCES = _counter("consumer_rebalances_total", "Times partitions were assigned anew.")
CONSUMER_FENCED = _counter("consumer_fenced_total", "Batches refused because another consumer had written.", "topic")
CONSUMER_GAPS = _counter("consumer_gaps_total", "Times records were gone before they were read.", "topic", "reason")
CONSUMER_KEY_MISMATCHES = _counter("consumer_key_mismatches_total", "Records whose key is not their user.", "topic")

# ── events going out ─────────────────────────────────────────────────────────────────────────────────────────────────
EVENTS_PUBLISHED = _counter("events_published_total", "Events handed to the broker.", "topic", "outcome")
EVENTS_DROPPED = _counter("events_dropped_total", "Background events given up because their queue was full.", "topic")
OUTBOX_PENDING = _gauge("outbox_pending", "Outbox messages waiting to go out.")

# ── training and models ──────────────────────────────────────────────────────────────────────────────────────────────
TRAININGS = _counter("trainings_total", "Trainings by final status.", "model_type", "status")
TRAINING_SECONDS = _histogram("training_seconds", "One training, start to verdict.", "model_type", buckets=_LONG)
LAST_TRAINING = _gauge(
    "last_training_timestamp_seconds", "When the newest training with this outcome ended.", "model_type", "status"
)
TRAINING_RUNNING = _gauge("training_running", "1 while a training of this type runs here.", "model_type")
JOB_QUEUE_DEPTH = _gauge(
    "job_queue_depth", "Jobs that wait for a worker: rings at the broker or queued trainings, whichever are more."
)
MODEL_VERSION = _gauge("model_version", "Version being served.", "model_type")
MODEL_CREATED = _gauge("model_created_timestamp_seconds", "When the served model was trained.", "model_type")
MODEL_QUALITY = _gauge("model_quality", "Offline quality of the served model at its training.", "model_type", "metric")
MODEL_CURRENT_QUALITY = _gauge(
    "model_current_quality", "Quality of the champion on the newest hold-out.", "model_type", "metric"
)
MODEL_EVALUATED = _gauge("model_evaluated_timestamp_seconds", "When that was measured.", "model_type")
KPI = _gauge("kpi", "One figure of the newest KPI report.", "figure")
KPI_MADE = _gauge("kpi_timestamp_seconds", "When that report was made.")
MODEL_SWAPS = _counter("model_swaps_total", "Attempts to swap the served model.", "model_type", "outcome")
MODEL_SWAP_SECONDS = _histogram("model_swap_seconds", "Fetch, verify, warm and swap.", "model_type", buckets=_LONG)
SERVED_SHARE = _gauge(
    "served_share", "Of the lists of the served model lately: empty, errors, taken_up.", "model_type", "what"
)
GUARDRAIL_BREACHES = _counter(
    "guardrail_breaches_total",
    "Served models below their bounds: rolled_back, kept or canary_rolled_back.",
    "model_type",
    "outcome",
)
CANARY_SHARE = _gauge("canary_share", "Share of users who get a candidate's lists; 0 without a canary.", "model_type")
CANARY_STEPS = _counter(
    "canary_steps_total",
    "Steps of canaries: started, advanced, promoted, rolled_back or stopped.",
    "model_type",
    "outcome",
)
SHADOW_OVERLAP = _histogram(
    "shadow_overlap_ratio", "Share of the first ten items that candidate and champion have in common.", buckets=_TENTHS
)
SHADOW_SECONDS = _histogram("shadow_seconds", "Processor time of one list by the candidate.")
SHADOW_DROPPED = _counter("shadow_dropped_total", "Lists not compared because too many were waiting.")
SHADOW_FAILURES = _counter("shadow_failures_total", "Lists the candidate could not make.")
VECTOR_INDEX_RECALL = _gauge(
    "vector_index_recall", "Recall@100 of a served index against flat search, when built.", "model_type", "tower"
)
VECTOR_INDEXES_REFUSED = _counter(
    "vector_indexes_refused_total", "Indexes that found too little; a flat one serves in their place.", "kind"
)
ARTIFACT_REFUSALS = _counter("artifact_refusals_total", "Artifacts refused before parsing, by check.", "problem")
ARTIFACT_COPIES = _counter("artifact_copies_total", "Local copies of artifacts used, damaged or failed.", "outcome")

# ── experiments and the request log ──────────────────────────────────────────────────────────────────────────────────
EXPERIMENTS_RUNNING = _gauge("experiments_running", "Experiments that assign users now.")
REQUESTS_LOGGED = _counter("requests_logged_total", "Lists written to the request log.")
REQUESTS_PRUNED = _counter("requests_pruned_total", "Entries of the request log removed because of their age.")
REQUESTS_NOT_LOGGED = _counter("requests_not_logged_total", "Lists dropped because too many waited to be logged.")

# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────
DEPENDENCY_UP = _gauge("dependency_up", "1 if the last use of a dependency worked.", "dependency")
BREAKER_OPEN = _gauge("breaker_open", "1 while the breaker of a dependency is open.", "dependency")
EVENT_LOOP_LAG_SECONDS = _histogram("event_loop_lag_seconds", "How late the event loop wakes a timer.")
MISPLACED_ROWS = _gauge("default_partition_rows", "Interactions that no month's partition took: to be moved by hand.")
BACKGROUND_FAILURES = _counter("background_failures_total", "Failures of background loops, which go on.", "task")

# ── logging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A structured logger: `log.info("event", key=value)`; the event is a fixed text, values go beside it."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@cache  # bounded: the stages are ours
def _stage_meter(name: str) -> Histogram:
    return STAGE_SECONDS.labels(name)


class stage:  # noqa: N801 - used as a function: `with stage("score"):`
    """Time one stage of a list, in STAGE_SECONDS and, where the request is traced, as a span."""

    __slots__ = ("_name", "_span", "_started")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._span = spans.span(self._name)
        self._span.__enter__()
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        _stage_meter(self._name).observe(perf_counter() - self._started, spans.exemplar())
        self._span.__exit__(kind, error, where)


def user_hash(user_id: str) -> str:
    """What stands for a user in logs and traces: stable, and not the id."""
    return hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8, person=b"encore-log").hexdigest()
