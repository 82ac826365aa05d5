"""Which addresses may be asked for secrets and keys."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_safe_address(url: str) -> bool:
    """Whether what comes from there may be believed: https, or http on this very machine."""
    try:
        address = urlsplit(url)
        host = address.hostname
    except ValueError:
        return False
    is_local = address.scheme == "http" and host in {"localhost", "127.0.0.1"}
    return bool(host) and (address.scheme == "https" or is_local)
