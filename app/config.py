"""Every setting: its ENCORE_* name, default, unit and bounds. Plain values; nothing below bootstrap may read this.

A setting is a URL where it names a dependency: the scheme names the adapter. Values come from the environment, then
from the YAML file named by ENCORE_CONFIG_FILE. Unknown names, weak secrets and impossible values refuse to start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Weight = Annotated[float, Field(ge=-10, le=10)]


class Settings(BaseSettings):
    """What is in force. `load_settings()` is the only way to make one outside tests."""

    model_config = SettingsConfigDict(env_prefix="ENCORE_", extra="forbid", frozen=True, hide_input_in_errors=True)

    environment: Literal["production", "development", "demo", "test"] = "production"

    # dependencies (design §4)
    database_url: str = "sqlite+aiosqlite:///./var/encore.db"
    cache_url: str = "memory://"
    events_url: str = "memory://"
    artifacts_url: str = "file:./var/artifacts"
    jobs_url: str = "local://"

    # credentials
    jwt_secret: SecretStr | None = None
    jwt_jwks_url: str | None = None
    jwt_jwks_file: Path | None = None
    jwt_issuer: str = "encore"
    jwt_audience: str = "encore"
    jwt_leeway_seconds: Annotated[float, Field(ge=0, le=30)] = 30
    jwt_max_lifetime_seconds: Annotated[float, Field(gt=0, le=2_592_000)] = 86_400

    # http
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    max_body_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 65_536
    max_bulk_body_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 4_194_304
    request_deadline_seconds: Seconds = 10
    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 64
    rate_limit_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 0

    # database
    database_pool_size: Annotated[int, Field(ge=1, le=20)] = 10
    database_timeout_seconds: Seconds = 5

    # lists
    list_size: Annotated[int, Field(ge=1, le=1_000)] = 100
    history_limit: Annotated[int, Field(ge=1, le=5_000)] = 200
    list_ttl_seconds: Seconds = 3_600
    memory_list_ttl_seconds: Annotated[float, Field(gt=0, le=300)] = 30
    memory_cache_bytes: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 67_108_864

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
    train_keep_versions: Annotated[int, Field(ge=1, le=100)] = 5
    train_lease_seconds: Seconds = 60
    train_seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    model_poll_seconds: Annotated[float, Field(gt=0, le=15)] = 2
    catalog_poll_seconds: Annotated[float, Field(gt=0, le=60)] = 0.5

    # logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"
