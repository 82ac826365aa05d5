"""Spans reach a collector, name routes instead of users, and cost nothing where no collector is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app.domain.exceptions import ConfigurationError
from app.infrastructure.tracing import open_tracing
from tests.integration.api.running_service import bearer, opened_copy

FAN = "crime-fan-1"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """(address, spans that came in so far)."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_requests_of_both_ways_become_spans_of_the_callers_trace(built: Path, tmp_path: Path) -> None:
    with collector() as (address, spans):
        with opened_copy(built, tmp_path, traces_url=address) as running:
            headers = {**bearer(FAN), "traceparent": PARENT}
            assert running.get(f"/api/v1/recs/{FAN}", headers).status_code == 200
            assert running.get("/api/v1/items/crime-01/similar?limit=3", headers).status_code == 200
            assert running.get("/health/live").status_code == 200
        names = {span.name for span in spans}
        assert names == {"GET /api/v1/recs/{user_id}", "GET /api/v1/items/{item_id}/similar"}
        assert {span.trace_id.hex() for span in spans} == {PARENT.split("-")[1]}
        assert {span.parent_span_id.hex() for span in spans} == {PARENT.split("-")[2]}


def test_spans_hold_no_user_no_address_and_no_token(built: Path, tmp_path: Path) -> None:
    with collector() as (address, spans):
        with opened_copy(built, tmp_path, traces_url=address) as running:
            # "testclient" is the address of this client, and would be its agent too.
            running.get(f"/api/v1/users/{FAN}?x=secret-query", {**bearer(FAN), "user-agent": "probe"})
            running.get("/nowhere/secret-path", {**bearer(FAN), "user-agent": "probe"})
        assert spans
        shown = str(spans)
        for secret in (FAN, "secret-query", "secret-path", "127.0.0.1", "testclient", "Bearer"):
            assert secret not in shown


def test_a_collector_that_is_away_costs_spans_and_no_request(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path, traces_url="http://127.0.0.1:9/v1/traces") as running:
        assert running.get(f"/api/v1/recs/{FAN}", bearer(FAN)).status_code == 200


def test_without_a_collector_no_sdk_is_imported() -> None:
    code = "import sys, app.main; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("url", ["", "collector:4318", "grpc://collector"])
def test_what_is_no_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_TRACES_URL"):
        open_tracing(url, "1")
