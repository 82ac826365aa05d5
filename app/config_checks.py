"""Combinations of settings that cannot be meant, and values that protect nothing: refused by name, never by value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from app.config_names import setting_name
from app.config_secrets import weakness
from app.domain.addresses import is_safe_address
from app.domain.entities import Kind
from app.domain.exceptions import ConfigurationError, InputError
from app.domain.model_types import MODEL_TYPES

if TYPE_CHECKING:  # config.py calls this module
    from app.config import Settings

COMPAT_SYSTEMS = ("posts", "movies", "books")
"""Systems whose addresses are answered too: the modules of app/api/compat."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"[A-Za-z0-9_.:%-]+", re.ASCII)
_EXAMPLES_ALLOWED = frozenset({"demo", "test"})
_MAPPED = IPv6Network("::ffff:0:0/96")
_OURS = tuple(map(IPv6Network, ("fc00::/7", "fe80::/10")))
"""Addresses that only a site itself has: a prefix that short can be a network of one's own."""

MIN_PREFIX = {4: 8, 6: 16}
"""The shortest prefix of a network of proxies: `10.0.0.0/8` is somebody's, anything larger is everybody's."""


def refuse_impossible(settings: Settings) -> None:
    """Raise ConfigurationError for combinations that cannot be meant, and for secrets that protect nothing."""
    for checks in (_secrets, _credentials, _addresses, _http, _times, _lists, _training, _places):
        for setting, problem in checks(settings):
            raise ConfigurationError(setting, problem)


def _secrets(settings: Settings) -> Iterator[tuple[str, str]]:
    is_example_allowed = settings.environment in _EXAMPLES_ALLOWED
    for name in ("jwt_secret", "cursor_secret", "pseudonym_secret"):
        secret = getattr(settings, name)
        if secret is None:
            continue
        if problem := weakness(secret.get_secret_value(), is_example_allowed=is_example_allowed):
            yield setting_name(name), problem


def _credentials(settings: Settings) -> Iterator[tuple[str, str]]:
    given = [name for name in ("jwt_secret", "jwt_jwks_url", "jwt_jwks_file") if getattr(settings, name) is not None]
    if len(given) > 1:
        yield setting_name(given[1]), f"only one of it and {setting_name(given[0])} can verify tokens"
    for name in ("jwt_issuer", "jwt_audience"):
        text = getattr(settings, name)
        if not text.strip() or text != text.strip() or not text.isprintable():
            yield setting_name(name), "is empty, or has white space around it: every token would be refused"
    if settings.jwt_jwks_url is not None and not is_safe_address(settings.jwt_jwks_url):
        yield "ENCORE_JWT_JWKS_URL", "must be an https address"
    if settings.jwt_jwks_file is not None and not settings.jwt_jwks_file.is_file():
        yield "ENCORE_JWT_JWKS_FILE", "is no file that is there"


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    if problem := trust_problem(settings.trusted_proxies):
        yield "ENCORE_TRUSTED_PROXIES", problem
    from_others = os.environ.get("FORWARDED_ALLOW_IPS", "").strip()
    if settings.environment == "production" and from_others and (problem := trust_problem(from_others)):
        yield "FORWARDED_ALLOW_IPS", problem
    for name in ("host", "consume_health_host"):
        if not _HOST.fullmatch(getattr(settings, name)):
            yield setting_name(name), "is no address and no name of a host"
    if settings.environment in _EXAMPLES_ALLOWED and not _is_loopback(settings.host):
        problem = f"`{settings.environment}` takes example secrets: it listens on this machine alone (127.0.0.1)"
        yield "ENCORE_HOST", problem


def trust_problem(text: str) -> str | None:
    """Why a list of proxies, with commas, cannot be believed; None if each is an address or a network of somebody's."""
    parts = list(filter(None, map(str.strip, text.split(","))))
    if text and not parts:
        return "names nobody: leave it empty"
    for part in parts:
        if part == "*":
            return "trusts every client's headers; name the addresses of your proxies"
        try:
            network = ip_network(part)
        except ValueError:
            return "is no list of addresses and networks with commas (a network has no bits after its prefix)"
        if _is_too_large(network):
            return "trusts nearly every client's headers; name the addresses of your proxies"
    return None


def _is_too_large(network: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv4Network):
        return network.prefixlen < MIN_PREFIX[4]
    if network.subnet_of(_MAPPED):
        return network.prefixlen - 96 < MIN_PREFIX[4]
    return network.prefixlen < MIN_PREFIX[6] and not any(network.subnet_of(own) for own in _OURS)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def _http(settings: Settings) -> Iterator[tuple[str, str]]:
    systems = settings.compat_systems
    if any(name not in COMPAT_SYSTEMS for name in systems):
        yield "ENCORE_COMPAT", f"knows {', '.join(COMPAT_SYSTEMS)}, with commas"
    if len(set(systems)) < len(systems):
        yield "ENCORE_COMPAT", "names a system twice"
    if settings.max_bulk_body_bytes < settings.max_body_bytes:
        yield "ENCORE_MAX_BULK_BODY_BYTES", "is smaller than ENCORE_MAX_BODY_BYTES"
    if settings.admin_port and settings.admin_port == settings.port:
        yield "ENCORE_ADMIN_PORT", "is ENCORE_PORT: strangers would reach it"
    if settings.person_batch_bytes > settings.max_bulk_body_bytes:
        yield "ENCORE_PERSON_BATCH_BYTES", "is larger than ENCORE_MAX_BULK_BODY_BYTES"
    if settings.max_bodies_bytes < 4 * settings.max_bulk_body_bytes:
        yield "ENCORE_MAX_BODIES_BYTES", "is less than four times ENCORE_MAX_BULK_BODY_BYTES: none could come in"
    if settings.database_timeout_seconds > settings.request_deadline_seconds:
        yield "ENCORE_DATABASE_TIMEOUT_SECONDS", "is longer than ENCORE_REQUEST_DEADLINE_SECONDS"


def _times(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.memory_list_ttl_seconds > settings.list_ttl_seconds:
        yield "ENCORE_MEMORY_LIST_TTL_SECONDS", "is longer than ENCORE_LIST_TTL_SECONDS"
    if settings.consume_heartbeat_seconds >= settings.consume_session_seconds:
        yield "ENCORE_CONSUME_HEARTBEAT_SECONDS", "is not shorter than ENCORE_CONSUME_SESSION_SECONDS"
    if settings.train_time_budget_seconds > settings.train_time_limit_seconds:
        yield "ENCORE_TRAIN_TIME_BUDGET_SECONDS", "is longer than ENCORE_TRAIN_TIME_LIMIT_SECONDS"


def _lists(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.explore_share and settings.explore_position > settings.list_size:
        yield "ENCORE_EXPLORE_POSITION", "is behind the end of the list (ENCORE_LIST_SIZE)"
    if all(getattr(settings, f"weight_{kind.value}") <= 0 for kind in Kind):
        yield "ENCORE_WEIGHT_WATCH", "no kind of event counts for anything: give at least one a weight above 0"


def _training(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.train_model_type not in MODEL_TYPES:
        yield "ENCORE_TRAIN_MODEL_TYPE", f"is none of {', '.join(sorted(MODEL_TYPES))}"
    for name in ("train_blend_weights", "train_blend_floors"):
        unknown = sorted(set(getattr(settings, name)) - (MODEL_TYPES - {"hybrid"}))
        if unknown:
            yield setting_name(name), f"names no members: they are {', '.join(sorted(MODEL_TYPES - {'hybrid'}))}"
            return
    if settings.train_blend_weights or settings.train_blend_floors:
        yield from _blend(settings)
    if settings.consume_group != settings.consume_group.strip():
        yield "ENCORE_CONSUME_GROUP", "has white space around it"


def _blend(settings: Settings) -> Iterator[tuple[str, str]]:
    from app.domain.blend_policy import BlendPolicy  # with numpy, which most commands never need

    try:
        BlendPolicy.of(settings.train_blend_weights, settings.train_blend_floors)
    except InputError as error:
        yield setting_name(f"train_blend_{error.field}"), error.problem


def _places(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.environment != "test" and ":memory:" in settings.database_url:
        yield "ENCORE_DATABASE_URL", "a database in memory loses everything and is invisible to trainings"
