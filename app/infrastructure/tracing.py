"""Spans of HTTP requests, sent to an OpenTelemetry collector (OTLP over HTTP) by the SDK: the extra `otel`.

Nothing of the SDK is imported unless `ENCORE_TRACES_URL` names a collector.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from app.domain.exceptions import ConfigurationError

if TYPE_CHECKING:  # the SDK is optional, and loaded where it is used
    from fastapi import FastAPI
    from opentelemetry.sdk.trace import TracerProvider

SETTING = "ENCORE_TRACES_URL"
EXPORT_SECONDS = 5.0
UNTRACED = "/health,/metrics"
"""Probes and scrapers ask every few seconds, and nobody looks for the cause of that."""

_ADDRESSES = ("http.url", "http.target", "url.full", "url.path", "url.query")
_CALLERS = ("net.peer.ip", "net.peer.name", "client.address", "http.client_ip")


class Tracing:
    """The SDK's provider for one process: a bounded queue and one thread that exports; what is too much is dropped."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("encore")

    def instrument(self, app: FastAPI) -> None:
        """A span for each request that the framework routes; its parent is that of the request's `traceparent`."""
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=self._provider,
            excluded_urls=UNTRACED,
            exclude_spans=["receive", "send"],
            server_request_hook=_without_identities,
        )

    def request(self, name: str) -> AbstractContextManager[trace.Span]:
        """A span for a request that does not go through the framework."""
        return self._tracer.start_as_current_span(name, kind=trace.SpanKind.SERVER, attributes={"http.route": name})

    async def close(self) -> None:
        """Export what waits, for as long as one export may take."""
        await asyncio.to_thread(self._provider.shutdown)


def open_tracing(url: str | None, version: str) -> Tracing | None:
    """Tracing to the collector at `url` (`http://collector:4318/v1/traces`); None without one.

    Nothing is connected yet, and a collector that is away costs spans only. Raises ConfigurationError.
    """
    if url is None:
        return None
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(SETTING, "must be the http address of an OTLP collector")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation import fastapi as _fastapi  # noqa: F401  # missing: say so now, not later
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigurationError(SETTING, "needs the extra `otel`") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "encore", "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url, timeout=EXPORT_SECONDS)))
    return Tracing(provider)


def _without_identities(span: Any, _scope: dict[str, Any]) -> None:
    """Paths and queries hold user ids, addresses are personal data: the route's template stands for them."""
    if not span.is_recording():
        return
    route = span.attributes.get("http.route", "<unmatched>")
    for name in _ADDRESSES:
        if name in span.attributes:
            span.set_attribute(name, route)
    for name in _CALLERS:
        if name in span.attributes:
            span.set_attribute(name, "")
