"""The first page people see: what runs here and where to go. No script, nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "code,pre{font:14px/1.5 ui-monospace,monospace;background:#f4f4f4;border-radius:4px}code{padding:.1em .3em}"
    "pre{padding:1rem;overflow:auto}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;"
    "padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd}"
)
POLICY = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""Content-Security-Policy of this page: its own style, nothing else."""

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
