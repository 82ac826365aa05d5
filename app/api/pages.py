"""The pages people see: what runs here and where to go, and every operation. No script, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "code,pre{font:14px/1.5 ui-monospace,monospace;background:#f4f4f4;border-radius:4px}code{padding:.1em .3em}"
    "pre{padding:1rem;overflow:auto}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;"
    "padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd}details{margin:.4rem 0}summary{cursor:pointer}"
    ".m{display:inline-block;min-width:4.5rem;font-weight:600}"
)
POLICY = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""Content-Security-Policy of these pages: their own style, nothing else."""

HEADERS = {"content-security-policy": POLICY.decode(), "cache-control": "no-cache"}


def page(title: str, body: str) -> str:
    """A whole page; `body` is ready HTML."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>{body}</body></html>'
    )


def welcome(facts: Mapping[str, Any]) -> str:
    """The first page: version, state, model, and where to go."""
    model = facts["model"]
    named = "none yet" if model is None else f"{model['type']} version {model['version']}"
    links = "".join(
        f'<tr><td><a href="{escape(path)}">{escape(path)}</a></td><td>{escape(meaning)}</td></tr>'
        for path, meaning in facts["links"].items()
    )
    return page(
        "Encore",
        f"<h1>Encore {escape(facts['version'])}</h1><p>A recommendation service. "
        f"State: <strong>{escape(facts['status'])}</strong>. Model: <strong>{escape(named)}</strong>.</p>"
        f"<table>{links}</table><h2>Try it</h2><pre>TOKEN=$(encore token --sub u1)\n"
        "curl -H &quot;Authorization: Bearer $TOKEN&quot; http://…/api/v1/recs/u1?explain=true</pre>",
    )


def operations(document: Mapping[str, Any]) -> str:
    """The OpenAPI document as a page."""
    parts = [
        f"<h1>{escape(document['info']['title'])} {escape(document['info']['version'])}</h1>",
        f"<p>{escape(document['info']['description'])}</p>",
        '<p>For tools: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>',
    ]
    tag = None
    for path, method, operation in _operations(document):
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            parts.append(f"<h2>{escape(tag)}</h2>")
        parts.append(_operation(path, method, operation))
    return page("Encore: operations", "".join(parts))


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}</td>"
        f"<td>{escape(_type(parameter['schema']))}</td><td>{escape(parameter.get('description', ''))}</td></tr>"
        for parameter in operation.get("parameters", ())
    )
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    body = "" if content is None else f"<p>Body: <code>{escape(_type(content))}</code></p>"
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><span class="m">{method.upper()}</span>'
        f"<code>{escape(path)}</code></summary><p>{escape(operation.get('description', ''))}</p>"
        f"<table>{rows}</table>{body}<table>{answers}</table></details>"
    )


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(option) for option in schema[several])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    return kind if low is None and high is None else f"{kind} {low}–{high}"
