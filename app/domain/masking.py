"""What must never be shown: passwords inside URLs and values whose name says that they are secret."""

from __future__ import annotations

import re

MASK = "***"

# Each pattern is tried only where its first characters stand and looks a bounded way ahead: log lines hold input, and
# an input must not buy quadratic time.
_URL_PASSWORD = re.compile(r"(?<=://)(?P<user>[^\s:/?#@]{0,256}):(?P<password>[^\s/?#]{1,1024})@")
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&;][\w\-]{0,40}(?:password|passwd|secret|token|api[_-]?key|credential)[\w\-]{0,40})=[^&#\s;]*",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(?P<scheme>Bearer|Basic|ApiKey)\s{1,4}[A-Za-z0-9._~+/=\-]{8,}", re.IGNORECASE)
_SECRET_NAME = re.compile(
    r"password|passwd|secret|credential|authorization|cookie|(?:^|_)(?:token|api_?key|jwt|dsn)$", re.IGNORECASE
)


def masked(text: str) -> str:
    """The text with the passwords of URLs, secret query parameters and authorization headers replaced.

    >>> masked("postgresql+asyncpg://encore:hunter2@db/encore")
    'postgresql+asyncpg://encore:***@db/encore'
    """
    text = _URL_PASSWORD.sub(rf"\g<user>:{MASK}@", text)
    text = _SECRET_PARAMETER.sub(rf"\g<name>={MASK}", text)
    return _BEARER.sub(rf"\g<scheme> {MASK}", text)


def names_a_secret(name: str) -> bool:
    """True for names whose values are never shown (`jwt_secret`, `authorization`, …)."""
    return _SECRET_NAME.search(name) is not None
