"""The one way out of the console: the service's HTTP API, with a key, a deadline and a bound on what is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

TIMEOUT_SECONDS = 15.0
MAX_BYTES = 32 * 1024 * 1024


class ApiError(Exception):
    """The API refused, or did not answer; `status` is 0 where there was no answer. The text is for people."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _NoRedirects(HTTPRedirectHandler):
    """The key must not travel to wherever somebody points to."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class ApiClient:
    """Calls to one service. Every call raises ApiError where it is refused or nothing answers in time."""

    url: str
    operations_url: str
    key: str = field(repr=False)

    def get(self, path: str, **parameters: str | int | None) -> Any:
        """The answer to GET, decoded; parameters that are None or empty are left out."""
        chosen = {name: value for name, value in parameters.items() if value not in (None, "")}
        return json.loads(self._call("GET", self.url + path + (f"?{urlencode(chosen)}" if chosen else "")))

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to a request with a JSON body, decoded; None where there is none."""
        answer = self._call(method, self.url + path, None if body is None else json.dumps(body).encode())
        return json.loads(answer) if answer else None

    def figures(self) -> str:
        """What /metrics says, in Prometheus' text format."""
        return self._call("GET", self.operations_url + "/metrics", with_key=False).decode()

    def _call(self, method: str, address: str, body: bytes | None = None, *, with_key: bool = True) -> bytes:
        headers = {"Accept": "application/json, application/problem+json, text/plain"}
        if with_key:
            headers["Authorization"] = f"Bearer {self.key}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = Request(address, data=body, headers=headers, method=method)  # noqa: S310  # a setting: http or https
        try:
            with build_opener(ProxyHandler({}), _NoRedirects()).open(request, timeout=TIMEOUT_SECONDS) as answer:
                read: bytes = answer.read(MAX_BYTES)
                return read
        except HTTPError as refused:
            raise ApiError(refused.code, _problem(refused)) from None
        except (URLError, OSError, HTTPException):
            raise ApiError(0, "the service does not answer") from None


def path_of(*parts: str) -> str:
    """A path below /api/v1 with every part quoted: ids may hold anything."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _problem(refused: HTTPError) -> str:
    """The problem document in one line."""
    try:
        document = json.loads(refused.read(65_536))
        places = ", ".join(f"{error['pointer']}: {error['code']}" for error in document.get("errors") or ())
        return f"{document['title']} ({refused.code})" + (f": {places}" if places else "")
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return f"refused ({refused.code})"
