"""Every setting: its ENCORE_* name, default, unit and bounds. Plain values; nothing below bootstrap may read this.

A setting is a URL where it names a dependency: the scheme names the adapter. Values come from the environment, then
from the YAML file named by ENCORE_CONFIG_FILE. Unknown names, weak secrets and impossible values refuse to start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from app.config_checks import refuse_impossible
from app.config_names import (
    FILE_SETTING,
    read_file,
    read_secret_files,
    refuse_unknown_names,
    setting_name,
)
from app.config_rules import rules_of
from app.config_secrets import MIN_SECRET_BYTES
from app.config_types import Schedule, Seconds, Share, Weight
from app.domain.exceptions import ConfigurationError
from app.domain.list_query import SeenPolicy

_JOB = "(train|evaluate|precompute|tick)"


class Settings(BaseSettings):
    """What is in force. `load_settings()` is the only way to make one outside tests."""

    model_config = SettingsConfigDict(env_prefix="ENCORE_", extra="forbid", frozen=True, hide_input_in_errors=True)

    environment: Literal["production", "development", "demo", "test"] = "production"
    # dependencies (docs/design.md §4)
    database_url: str = "sqlite+aiosqlite:///./var/encore.db"
    cache_url: str = "memory://"
    events_url: str = "memory://"
    artifacts_url: str = "file:./var/artifacts"
    artifact_copies: Path = Path("./var/artifact-copies")
    jobs_url: str = "local://"
    traces_url: str | None = None
    traces_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of requests without a trace of their caller that begin one."""

    # credentials
    jwt_secret: SecretStr | None = None
    jwt_jwks_url: str | None = None
    jwt_jwks_file: Path | None = None
    jwt_jwks_ca_file: Path | None = None
    jwt_issuer: str = "encore"
    jwt_audience: str = "encore"
    jwt_leeway_seconds: Annotated[float, Field(ge=0, le=30)] = 30
    jwt_max_lifetime_seconds: Annotated[float, Field(gt=0, le=2_592_000)] = 86_400

    # http
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    max_body_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 65_536
    max_bulk_body_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 4_194_304
    person_batch_events: Annotated[int, Field(ge=1, le=5_000)] = 100
    person_batch_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 65_536
    service_batch_events: Annotated[int, Field(ge=1, le=5_000)] = 5_000
    max_bodies_per_person: Annotated[int, Field(ge=1, le=1_000)] = 24
    """Bodies that have begun to come and are not whole, at once."""
    max_bodies_per_service: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_bodies_per_address: Annotated[int, Field(ge=1, le=10_000)] = 128
    max_bodies_bytes: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 134_217_728
    """What they may hold of memory, all together; one caller a quarter of it."""
    request_deadline_seconds: Seconds = 10
    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 64
    rate_limit_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    replicas: Annotated[int, Field(ge=1, le=1_000)] = 1
    """API processes behind one address: while the cache is away each allows its share of the rate limit."""
    service_rate_limit_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] = 600_000
    trusted_proxies: str = ""
    """Addresses whose X-Forwarded-For is believed, with commas; everybody (`*`) is not a choice."""
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    cors_origins: str = ""
    cors_credentials: bool = False
    operations_open: bool | None = None
    """Whether /metrics, /docs and /openapi.json answer on the public port, too; without it: not in production."""
    admin_host: str = "127.0.0.1"
    admin_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """A listener for operators: probes, /metrics, /docs and /openapi.json, without credentials; without it: none."""
    dashboard_host: str = "127.0.0.1"
    dashboard_port: Annotated[int, Field(ge=1, le=65_535)] = 8501
    dashboard_api_url: Annotated[str, Field(pattern=r"^https?://\S+$")] = "http://127.0.0.1:8080"
    dashboard_operations_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    dashboard_api_key: SecretStr | None = None
    cursor_secret: SecretStr | None = None
    """Signs cursors; the token secret does where there is one. Set it where replicas share a key set instead."""
    compat: str = ""
    """Older systems whose addresses are answered too, with commas: posts, movies, books."""
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 0

    # database
    database_pool_size: Annotated[int, Field(ge=1, le=20)] = 10
    database_timeout_seconds: Seconds = 5

    # lists
    list_size: Annotated[int, Field(ge=1, le=1_000)] = 100
    history_limit: Annotated[int, Field(ge=1, le=5_000)] = 200
    list_ttl_seconds: Seconds = 3_600
    list_stale_seconds: Annotated[float, Field(ge=0, le=86_400)] = 18_000
    memory_list_ttl_seconds: Annotated[float, Field(gt=0, le=300)] = 30
    memory_cache_bytes: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 67_108_864
    memory_list_bytes: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 33_554_432
    page_cache_bytes: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 67_108_864
    token_cache_bytes: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 33_554_432
    scoring_threads: Annotated[int, Field(ge=1, le=64)] = 2
    max_computing_lists: Annotated[int, Field(ge=1, le=10_000)] = 256
    live_connections: Annotated[int, Field(ge=0, le=100_000)] = 2_000
    live_connections_per_user: Annotated[int, Field(ge=1, le=1_000)] = 10
    live_heartbeat_seconds: Annotated[float, Field(ge=0.1, le=300)] = 15
    list_diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0: by score alone; 1: by unlikeness alone (MMR)."""
    exclude_seen: SeenPolicy = "always"
    """Whether lists leave out what was seen, where a request does not say; auto: as the training found."""
    rules: str = ""
    """Business rules: a JSON or YAML file, or the JSON itself."""
    explore_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    explore_position: Annotated[int, Field(ge=1, le=100)] = 10
    explore_pool: Annotated[int, Field(ge=1, le=500)] = 50
    vector_index: Literal["auto", "flat", "hnsw", "ivf", "sq", "pq"] = "auto"
    vector_index_above: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 100_000
    vector_index_approximate_above: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 500_000
    vector_index_min_recall: Annotated[float, Field(ge=0, le=1)] = 0.9

    # experiments and the request log
    request_log_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of users whose lists are logged, each of them whole."""
    request_log_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    attribution_hours: Annotated[float, Field(gt=0, le=8_760)] = 24
    pinned_model_bytes: Annotated[int, Field(ge=1_048_576)] = 1_073_741_824
    """Of all artifacts that arms of running experiments pin; every server holds them."""
    pseudonym_secret: SecretStr | None = None

    # signals: the weight of each kind of interaction, before decay
    weight_watch: Weight = 1.0
    weight_rating: Weight = 1.0
    weight_watchlist: Weight = 0.5
    weight_view: Weight = 0.3
    weight_like: Weight = 1.0
    weight_dislike: Weight = -1.0
    weight_comment: Weight = 0.6
    weight_share: Weight = 1.0
    weight_click: Weight = 0.3
    weight_purchase: Weight = 1.5
    signal_half_life_days: Annotated[float, Field(gt=0, le=36_500)] = 3_650

    # training
    train_model_type: str = "hybrid"
    train_test_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.1
    train_gate_margin: Annotated[float, Field(ge=-1, le=1)] = 0.01
    train_time_budget_seconds: Seconds = 120
    train_blend_weights: Mapping[str, Share] = {}
    """Weights of a hybrid's members by hand, and no other members; empty: training chooses."""
    train_blend_floors: Mapping[str, Share] = {}
    """The least share that a member has in what training chooses."""
    train_transformer: Literal["never", "gpu", "always"] = "never"
    """When selection tries the transformer, where torch is installed: where there is a GPU, or everywhere."""
    guardrail: bool = True
    """Fall back to the model before when lists of the served one are empty, fail or are not taken up."""
    guardrail_window_seconds: Seconds = 900
    guardrail_min_lists: Annotated[int, Field(ge=10, le=1_000_000)] = 200
    guardrail_max_empty: Annotated[float, Field(ge=0, le=1)] = 0.05
    guardrail_max_errors: Annotated[float, Field(ge=0, le=1)] = 0.05
    guardrail_max_hit_drop: Annotated[float, Field(ge=0, le=1)] = 0.5
    shadow_model: str = ""
    shadow_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    train_keep_versions: Annotated[int, Field(ge=1, le=100)] = 5
    train_lease_seconds: Seconds = 60
    train_seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    train_threads: Annotated[int, Field(ge=1, le=256)] = 1
    train_time_limit_seconds: Seconds = 21_600

    # worker and schedule: five cron fields in UTC, or empty for never
    train_schedule: Schedule = "0 3 * * *"
    evaluation_schedule: Schedule = "0 5 * * *"
    kpi_schedule: Schedule = "15 0 * * *"
    kpi_days: Annotated[int, Field(ge=1, le=366)] = 7
    retention_schedule: Schedule = "30 4 * * *"
    schedule_tick_seconds: Annotated[float, Field(ge=0.2, le=3_600)] = 30
    worker_jobs: Annotated[str, Field(pattern=f"^{_JOB}(,{_JOB})*$")] = "train,evaluate,precompute,tick"
    """What this worker does: a worker that only trains leaves the others to others."""
    worker_health_host: str = "127.0.0.1"
    worker_health_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    precompute_users: Annotated[int, Field(ge=0, le=10_000_000)] = 2_000
    """Most recently active users whose lists are made after a promotion, where the cache is shared; 0: none."""
    precompute_seconds: Seconds = 60
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    worker_stop_seconds: Annotated[float, Field(ge=0, le=3_600)] = 30
    model_poll_seconds: Annotated[float, Field(gt=0, le=15)] = 2
    catalog_poll_seconds: Annotated[float, Field(gt=0, le=60)] = 0.5

    # events in
    event_max_age_days: Annotated[int, Field(ge=1, le=36_500)] = 400
    """Older events are refused: a clock gone wrong, not news. Raise it while old histories are loaded through Kafka."""
    dead_letter_max_rows: Annotated[int, Field(ge=100, le=100_000_000)] = 100_000
    dead_letter_max_bytes: Annotated[int, Field(ge=1_048_576, le=1_099_511_627_776)] = 268_435_456
    dead_letter_max_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    """What services and the log send and cannot be taken in is kept within these bounds; the oldest go first."""

    # … from Kafka: `encore consume`
    consume_group: Annotated[str, Field(min_length=1, max_length=200)] = "encore"
    consume_instance: str | None = None
    """A stable name of this replica (its StatefulSet ordinal): a restart within the session moves no partitions."""
    consume_session_seconds: Annotated[float, Field(ge=1, le=300)] = 30
    consume_heartbeat_seconds: Annotated[float, Field(gt=0, le=100)] = 3
    consume_batch_records: Annotated[int, Field(ge=1, le=50_000)] = 10_000
    consume_poison_consecutive: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    consume_poison_ratio: Annotated[float, Field(gt=0, le=1)] = 0.2
    consume_poison_pause_seconds: Seconds = 60
    consume_stuck_seconds: Annotated[float, Field(ge=5, le=3_600)] = 60
    consume_health_host: str = "127.0.0.1"
    consume_health_port: Annotated[int, Field(ge=0, le=65_535)] = 9_464

    # logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @property
    def compat_systems(self) -> tuple[str, ...]:
        """The names in `compat`, in the order given."""
        return tuple(filter(None, map(str.strip, self.compat.split(","))))

    @property
    def shows_operations(self) -> bool:
        """Whether figures and documents are on the public port."""
        return self.environment != "production" if self.operations_open is None else self.operations_open

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment; `load_settings` adds the file. No .env is read behind anybody's back."""
        return init_settings, env_settings


def load_settings(**overrides: object) -> Settings:
    """The settings in force: arguments, environment, files with secrets, the YAML file, defaults, in this order.

    Raises ConfigurationError naming the setting to blame, never its value.
    """
    fields = Settings.model_fields
    refuse_unknown_names(os.environ, fields)
    secrets = read_secret_files(os.environ, fields)
    from_file = {name: value for name, value in read_file(fields).items() if setting_name(name) not in os.environ}
    try:
        settings = Settings(**{**from_file, **secrets, **overrides})  # type: ignore[arg-type]  # pydantic checks every value
    except ValidationError as error:
        raise _first_problem(error) from None  # the original would carry the value
    except SettingsError as error:
        raise ConfigurationError(_named_in(str(error)), "is not valid JSON") from None
    refuse_impossible(settings)
    rules_of(settings.rules)
    return settings


def require_credentials(settings: Settings) -> None:
    """Raise ConfigurationError unless there is something to verify tokens with: a server must not start without."""
    if settings.jwt_secret is None and settings.jwt_jwks_url is None and settings.jwt_jwks_file is None:
        raise ConfigurationError(
            "ENCORE_JWT_SECRET",
            f"is not set: give {MIN_SECRET_BYTES} random bytes or more, or ENCORE_JWT_JWKS_URL or ENCORE_JWT_JWKS_FILE",
        )


def pseudonym_secret(settings: Settings) -> bytes:
    """What users are hashed with in the request log: its own setting, else the token secret.

    Without either it is no secret: whoever has the database can then tell whether a user they can name is in it.
    """
    for secret in (settings.pseudonym_secret, settings.jwt_secret):
        if secret is not None:
            return secret.get_secret_value().encode()
    return b"encore"


def _first_problem(error: ValidationError) -> ConfigurationError:
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = str(problem["loc"][0]) if problem["loc"] else ""
    return ConfigurationError(setting_name(field), problem["msg"][:1].lower() + problem["msg"][1:])


def _named_in(message: str) -> str:
    fields = [field for field in Settings.model_fields if f'"{field}"' in message]
    return setting_name(fields[0]) if fields else FILE_SETTING
