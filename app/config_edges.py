"""What settings say about the edge of the service: its certificate, pages of other origins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # config.py calls this module
    from app.config import Settings

_ORIGIN = re.compile(r"(https?)://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def listed(text: str) -> list[str]:
    """The parts of a setting that has commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def edge_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with it)."""
    if settings.tls_cert_file is not None and settings.tls_key_file is None:
        yield "ENCORE_TLS_KEY_FILE", "is not set, beside ENCORE_TLS_CERT_FILE"
    if settings.tls_key_file is not None and settings.tls_cert_file is None:
        yield "ENCORE_TLS_CERT_FILE", "is not set, beside ENCORE_TLS_KEY_FILE"
    origins = listed(settings.cors_origins)
    if settings.cors_origins and not origins:
        yield "ENCORE_CORS_ORIGINS", "names nobody: leave it empty"
    if "*" in origins and len(origins) > 1:
        yield "ENCORE_CORS_ORIGINS", "`*` stands alone"
    if "*" in origins and settings.cors_credentials:
        yield "ENCORE_CORS_ORIGINS", "`*` and ENCORE_CORS_CREDENTIALS: any page could act for whoever looks at it"
    if settings.cors_credentials and not origins:
        yield "ENCORE_CORS_CREDENTIALS", "means nothing without ENCORE_CORS_ORIGINS"
    if origins != ["*"] and (problem := next(filter(None, map(_origin_problem, origins)), None)):
        yield "ENCORE_CORS_ORIGINS", problem


def _origin_problem(origin: str) -> str | None:
    """Why no browser sends this as `Origin`; None if one may."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return "must be origins as browsers send them, such as https://www.example.org: small letters, no path, no /"
    if match[3] is not None and (int(match[3]) > 65_535 or _DEFAULT_PORTS[match[1]] == match[3]):
        return "has a port that browsers leave out, or that there is not"
    return None
