"""What is refused by its envelope alone, before routing, credentials or parsing. Pure: a scope in, a problem out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from app.api import problems
from app.api.problems import Problem

REPEATABLE = frozenset({b"genre", b"exclude"})
"""Query parameters that may come more than once; any other that does is refused, since parsers disagree on it."""

JSON_TYPES = frozenset(
    {
        b"application/json",
        b"application/merge-patch+json",
        b"application/cloudevents+json",
        b"application/cloudevents-batch+json",
    }
)
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

CLOSE = ((b"connection", b"close"),)

_PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_:@|~+=-][A-Za-z0-9_.:@|~+=-]*)+|/")
"""What nearly every path is: no escape, no empty and no dot segment. Anything else is looked at closely."""
QUOTED_SLASH = "\ue02f"
"""Stands for `%2F` in the path that is routed by: of no script, so in no id."""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
"""RFC 3986 §3.2.2: a name, an IPv4 address or an IPv6 address in brackets, and perhaps a port."""
_HEADER_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class EnvelopeLimits:
    """Caps on everything that comes before the body (OWASP API4:2023)."""

    address_bytes: int = 8_192
    header_bytes: int = 16_384
    headers: int = 64


def envelope_problem(scope: Any, limits: EnvelopeLimits) -> Problem | None:
    """The first reason to refuse this ASGI scope, or None. `scope` is not changed."""
    return (
        _address_refusal(scope["raw_path"], scope["query_string"], limits)
        or _header_refusal(scope["headers"], limits)
        or (_body_refusal(scope["headers"]) if scope["method"] in WITH_BODY else None)
    )


def _address_refusal(raw_path: bytes, query: bytes, limits: EnvelopeLimits) -> Problem | None:
    if len(raw_path) + len(query) > limits.address_bytes:
        return Problem(problems.URI_TOO_LONG, headers=CLOSE)
    if not _PLAIN_PATH.fullmatch(raw_path):
        problem = _path_refusal(raw_path)
        if problem is not None:
            return problem
    return _query_refusal(query) if query else None


def _path_refusal(raw_path: bytes) -> Problem | None:
    if _BAD_ESCAPE.search(raw_path):
        return Problem(problems.BAD_REQUEST)
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        return Problem(problems.BAD_REQUEST)
    if _CONTROL.search(path):
        return Problem(problems.INVALID, fields=(problems.FieldError("path", "#", "control_character"),))
    is_odd = "%" in path or "\\" in path or QUOTED_SLASH in path
    segments = [*path.split("/"), *(unquote_to_bytes(part).decode() or "." for part in raw_path.split(b"/")[1:])]
    if is_odd or any(segment.split(";")[0] in {".", ".."} or segment.startswith(";") for segment in segments):
        return Problem(problems.NOT_FOUND)
    return None


def routable(raw_path: bytes) -> str:
    """The path for routing: text in composed form (NFC), a quoted slash told from one that parts segments.

    Raises UnicodeDecodeError for what `envelope_problem` refuses.
    """
    segments = (unquote_to_bytes(segment).decode() for segment in raw_path.split(b"/"))
    return unicodedata.normalize("NFC", "/".join(segment.replace("/", QUOTED_SLASH) for segment in segments))


def _query_refusal(query: bytes) -> Problem | None:
    if _BAD_ESCAPE.search(query):
        return Problem(problems.BAD_REQUEST)
    if b"%" in query or not query.isascii():
        try:
            decoded = unquote_to_bytes(query).decode("utf-8")
        except UnicodeDecodeError:
            return Problem(problems.BAD_REQUEST)
        if _CONTROL.search(decoded):
            return Problem(problems.INVALID, fields=(problems.FieldError("query", "#", "control_character"),))
    if _has_duplicate(unquote_to_bytes(part.split(b"=", 1)[0]) for part in query.split(b"&")):
        return Problem(problems.INVALID, fields=(problems.FieldError("query", "#", "duplicate_parameter"),))
    return None


def _has_duplicate(names: Iterable[bytes]) -> bool:
    seen = set()
    for name in names:
        if name in seen and name not in REPEATABLE:
            return True
        seen.add(name)
    return False


def _header_refusal(headers: list[tuple[bytes, bytes]], limits: EnvelopeLimits) -> Problem | None:
    names = [name for name, _ in headers]
    values = b"".join([value for _, value in headers])
    if len(headers) > limits.headers or len(values) + len(b"".join(names)) > limits.header_bytes:
        return Problem(problems.HEADERS_TOO_LARGE, headers=CLOSE)
    if _HEADER_CONTROL.search(values) or _is_ambiguous_length(headers, names):
        return Problem(problems.BAD_REQUEST, headers=CLOSE)
    if names.count(b"authorization") + names.count(b"x-api-key") > 1:
        return Problem(problems.AMBIGUOUS_CREDENTIALS)
    return None


def host_refusal(scope: Any) -> Problem | None:
    """RFC 9112 §3.2: one Host, and none only from HTTP/1.0."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) == 1 and _HOST.fullmatch(hosts[0]):
        return None
    if not hosts and scope.get("http_version") == "1.0":
        return None
    return Problem(problems.BAD_REQUEST, headers=CLOSE)


def _is_ambiguous_length(headers: list[tuple[bytes, bytes]], names: list[bytes]) -> bool:
    """RFC 9112 §6.3: two answers to "how long is the body" is how requests are smuggled."""
    if b"transfer-encoding" not in names:
        return names.count(b"content-length") > 1
    return b"content-length" in names or [
        value.strip().lower() for name, value in headers if name == b"transfer-encoding"
    ] != [b"chunked"]


def _body_refusal(headers: list[tuple[bytes, bytes]]) -> Problem | None:
    found = dict(headers)
    if found.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        return Problem(problems.UNSUPPORTED_MEDIA, headers=CLOSE)
    if has_body(headers) and not is_json(found.get(b"content-type", b"")):
        return Problem(problems.UNSUPPORTED_MEDIA, headers=CLOSE)
    return None


def has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether bytes follow the head. What is not a number has been refused by the server."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b""):
            return True
    return False


def declared_length(headers: list[tuple[bytes, bytes]]) -> int:
    """Content-Length, 0 without one. The server has refused everything but digits."""
    return next((int(value) for name, value in headers if name == b"content-length" and value.isdigit()), 0)


def is_json(content_type: bytes) -> bool:
    """True for the JSON types we read, in UTF-8 (RFC 8259 knows no other encoding on the wire)."""
    media_type, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    return media_type in JSON_TYPES and all(
        parameter in {b"", b"charset=utf-8", b'charset="utf-8"'} for parameter in parameters
    )
