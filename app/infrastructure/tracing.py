"""Spans sent to an OpenTelemetry collector (OTLP over HTTP) by the SDK: the extra `otel`.

Nothing of the SDK is imported unless `ENCORE_TRACES_URL` names a collector. What the SDK reads from `OTEL_*`
variables (service name, resource attributes, batch sizes, a further sampler, headers for the collector) holds besides.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import TYPE_CHECKING

from app import spans
from app.domain.exceptions import ConfigurationError

if TYPE_CHECKING:  # the SDK is optional, and loaded where it is used
    from opentelemetry.sdk.trace import TracerProvider

SETTING = "ENCORE_TRACES_URL"
EXPORT_SECONDS = 5.0


class Tracing:
    """The SDK's provider for one process: a bounded queue and one thread that exports; what is too much is dropped."""

    def __init__(self, provider: TracerProvider, share: float) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer("encore")
        spans.collect(self.tracer, share)

    def shut_down(self) -> None:
        """Export what waits, for as long as one export may take. Blocking."""
        spans.stop_collecting(self.tracer)
        self._provider.shutdown()

    async def close(self) -> None:
        """`shut_down`, beside the event loop."""
        await asyncio.to_thread(self.shut_down)


def open_tracing(url: str | None, version: str, role: str, share: float) -> Tracing | None:
    """Tracing of this process to the collector at `url` (`http://collector:4318/v1/traces`); None without one.

    `role` is what the process does (api, consumer, worker, training); `share` of the requests without a trace of the
    caller begin one. Nothing is connected yet, and a collector that is away costs spans only. Raises
    ConfigurationError.
    """
    if url is None:
        return None
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(SETTING, "must be the http address of an OTLP collector")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigurationError(SETTING, "needs the extra `otel`") from None
    facts: dict[str, str | int] = {
        "service.namespace": "encore",
        "service.version": version,
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
    }
    if "OTEL_SERVICE_NAME" not in os.environ:
        facts["service.name"] = f"encore-{role}"
    provider = TracerProvider(resource=Resource.create(facts))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url, timeout=EXPORT_SECONDS)))
    return Tracing(provider, share)
