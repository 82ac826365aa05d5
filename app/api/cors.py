"""Pages of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol): which may read answers, and preflights.

An origin is compared byte for byte with those of the setting. Answers to others are the same without our permission: it
is the browser that then withholds them. Credentials here are browsers' own (cookies, client certificates); tokens in
`Authorization` are an ordinary header, which a preflight asks about.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from app.api.request_context import STANDING_HEADERS

Headers = Sequence[tuple[bytes, bytes]]

REQUEST_HEADERS = (
    b"authorization, content-type, idempotency-key, if-match, if-none-match, traceparent, tracestate, x-api-key, "
    b"x-request-id"
)
RESPONSE_HEADERS = b"etag, location, ratelimit, ratelimit-policy, retry-after, www-authenticate, x-request-id"
"""What pages may read beside the headers that they always may."""

PREFLIGHT_SECONDS = 600
"""How long a browser may remember the answer to a preflight; some believe it for less."""

ANYBODY = "*"
_UNVARIED = tuple(header for header in STANDING_HEADERS if header[0] != b"vary")
_VARY = dict(STANDING_HEADERS)[b"vary"]


class CrossOrigin:
    """`origins`: exact ones, or ANYBODY alone. `with_credentials`: pages may send cookies and client certificates."""

    def __init__(self, origins: Collection[str], *, with_credentials: bool) -> None:
        self._is_open = ANYBODY in origins
        credentials = [(b"access-control-allow-credentials", b"true")] if with_credentials else []
        self._allowed: dict[bytes, Headers] = {
            origin.encode(): ((b"access-control-allow-origin", origin.encode()), *credentials) for origin in origins
        }
        exposed = (b"access-control-expose-headers", RESPONSE_HEADERS)
        varied = (b"vary", _VARY if self._is_open else _VARY + b", Origin")
        self._others: Headers = (*_UNVARIED, varied)
        self._standing: dict[bytes, Headers] = {
            origin: (*self._others, *allowed, exposed) for origin, allowed in self._allowed.items()
        }

    def standing_headers(self, request: Headers) -> Headers:
        """The headers of every answer to this request, in place of STANDING_HEADERS."""
        return self._standing.get(self._key(request), self._others)

    def preflight_headers(self, request: Headers, methods: Collection[str]) -> Headers:
        """What an OPTIONS request asks about; nothing where it is no preflight, or not of a page that we know."""
        asked = any(name == b"access-control-request-method" for name, _ in request)
        if not asked or self._key(request) not in self._allowed:
            return ()
        return (
            (b"access-control-allow-methods", ", ".join(sorted(methods)).encode()),
            (b"access-control-allow-headers", REQUEST_HEADERS),
            (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        )

    def _key(self, request: Headers) -> bytes:
        """The origin as the table has it; two of them are none."""
        found = [value for name, value in request if name == b"origin"]
        if len(found) != 1:
            return b""
        return ANYBODY.encode() if self._is_open else found[0]


def allowing(origins: str, with_credentials: bool) -> CrossOrigin | None:
    """Which pages of other origins (with commas) may read answers; None: none, and nothing is said about it."""
    listed = list(filter(None, map(str.strip, origins.split(","))))
    return CrossOrigin(listed, with_credentials=with_credentials) if listed else None
