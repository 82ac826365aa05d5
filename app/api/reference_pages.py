"""Swagger UI and ReDoc over the OpenAPI document: scripts from a package, served by us, each allowed by its hash.

The policy names neither `'unsafe-inline'` scripts nor an origin to run scripts from: only these very bytes run (Content
Security Policy Level 3 §8.4, "Usage of hashes", for scripts loaded with the same `integrity`). Everything is read and
hashed on first use, which takes milliseconds: call from a thread.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import fastapi_offline

from app.domain.exceptions import NotFoundError

ASSETS = "docs/assets"
"""Where the files are, relative to the pages: right behind a proxy that adds a prefix, too."""

DOCUMENT = "openapi.json"
MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
    "reference.css": "text/css",
    "favicon.png": "image/png",
}
"""Every file we serve, and nothing else of the package."""

CSS = b"body{margin:0}"
LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
"""ReDoc's footer loads this picture from its maker; here it is an empty one, so that no page asks a foreign address."""

EMPTY_PICTURE = b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
SWAGGER_OPTIONS: Mapping[str, object] = {
    "url": DOCUMENT,
    "dom_id": "#reference",
    "deepLinking": True,
    "displayRequestDuration": True,
    "persistAuthorization": False,
    "tryItOutEnabled": True,
    "validatorUrl": None,
}
"""https://swagger.io/docs/open-source-tools/swagger-ui/usage/configuration/. A token is forgotten with the page."""

REDOC_OPTIONS: Mapping[str, object] = {"disableSearch": True, "hideLoading": True, "nativeScrollbars": True}
"""https://redocly.com/docs/redoc/config. Its search runs in a worker made of text, which the policy does not allow."""

SCROLLBAR_STYLE = "QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc="
"""Digest of the one inline style that ReDoc 2 puts into the page (its scroll bars); a browser prints a changed one."""

EMPTY = base64.b64encode(hashlib.sha256(b"").digest()).decode()


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as we serve it. `sha256`: base64, as policies and `integrity` write it."""

    content: bytes
    media_type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page and its Content-Security-Policy."""

    html: str
    policy: str


@cache  # bounded by MEDIA_TYPES: some 2.8 MB, once somebody has looked at both pages
def asset(name: str) -> Asset:
    """A file by name. Raises NotFoundError for any other name. Reads from disk: call from a thread."""
    if name not in MEDIA_TYPES:
        raise NotFoundError("page")
    content = CSS if name == "reference.css" else files(fastapi_offline).joinpath("static", name).read_bytes()
    content = content.replace(LOGO, EMPTY_PICTURE)
    return Asset(content, MEDIA_TYPES[name], _sha256(content))


@cache
def swagger_page() -> Page:
    """The page at /docs. Reads from disk: call from a thread."""
    start = (
        f"SwaggerUIBundle(Object.assign({_script_json(SWAGGER_OPTIONS)},{{presets:[SwaggerUIBundle.presets.apis]}}))"
    )
    return _page("Encore: operations", "swagger-ui-bundle.js", start, ("swagger-ui.css",))


@cache
def redoc_page() -> Page:
    """The page at /redoc. Reads from disk: call from a thread."""
    start = f'Redoc.init("{DOCUMENT}",{_script_json(REDOC_OPTIONS)},document.getElementById("reference"))'
    return _page("Encore: reference", "redoc.standalone.js", start, ())


def _page(title: str, script: str, start: str, styles: tuple[str, ...]) -> Page:
    bundle = asset(script)
    links = "".join(f'<link rel="stylesheet" href="{ASSETS}/{name}">' for name in (*styles, "reference.css"))
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="icon" href="{ASSETS}/favicon.png">{links}'
        f'</head><body><div id="reference"></div><noscript>This page needs JavaScript; <a href="{DOCUMENT}">{DOCUMENT}'
        f'</a> does not.</noscript><script src="{ASSETS}/{script}" integrity="sha256-{bundle.sha256}"></script>'
        f"<script>{start}</script></body></html>"
    )
    scripts = f"'sha256-{bundle.sha256}' 'sha256-{_sha256(start.encode())}'"
    # Both programs put empty <style> elements into the page and fill them rule by rule, which is no inline text.
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'sha256-{EMPTY}' "
        f"'sha256-{SCROLLBAR_STYLE}'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return Page(html, policy)


def _script_json(value: Mapping[str, object]) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value).replace("<", "\\u003c")


def _sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
