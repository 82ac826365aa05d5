"""Spans reach a collector, name routes instead of users, and cost nothing where no collector is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.domain.exceptions import ConfigurationError
from app.infrastructure.tracing import open_tracing
from tests.integration.api.running_service import ADMIN, bearer, opened_copy, rated
from tests.servers.collector import SeenSpan, collecting

FAN = "crime-fan-1"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def tree_of(spans: Sequence[SeenSpan], root: str) -> set[tuple[str, str]]:
    """(name of the parent, name) of the spans below the one span of this name."""
    names = {each.span_id: each.name for each in spans}
    return {(names[each.parent_id], each.name) for each in spans if each.parent_id in names and each.name != root}


def test_requests_of_both_ways_become_spans_of_the_callers_trace(built: Path, tmp_path: Path) -> None:
    with collecting() as collector:
        with opened_copy(built, tmp_path, traces_url=collector.url, traces_share=0.0) as running:
            headers = {**bearer(FAN), "traceparent": PARENT}
            assert running.get(f"/api/v1/recs/{FAN}", headers).status_code == 200
            assert running.get("/api/v1/items/crime-01/similar?limit=3", headers).status_code == 200
            assert running.get("/health/live", headers).status_code == 200
        served = [each for each in collector.spans if each.kind == "server"]
        assert {each.name for each in served} == {"GET /api/v1/recs/{user_id}", "GET /api/v1/items/{item_id}/similar"}
        assert {each.trace_id for each in collector.spans} == {PARENT.split("-")[1]}
        assert {each.parent_id for each in served} == {PARENT.split("-")[2]}
        assert {each.attributes["http.response.status_code"] for each in served} == {200}


def test_a_computed_list_shows_its_stages_and_a_list_that_is_held_shows_none(built: Path, tmp_path: Path) -> None:
    with collecting() as collector:
        with opened_copy(built, tmp_path, traces_url=collector.url, traces_share=1.0) as running:
            for _ in range(2):
                assert running.get(f"/api/v1/recs/{FAN}", bearer(FAN)).status_code == 200
        name = "GET /api/v1/recs/{user_id}"
        first, second = sorted(collector.named(name), key=lambda each: each.start)
        stages = {(name, "history"), (name, "rank"), (name, "render")}
        assert tree_of(collector.trace(first.trace_id), name) >= {
            *stages,
            *(("rank", inner) for inner in ("candidates", "score", "rerank")),
            ("history", "SELECT users"),
        }
        assert "rank" not in {each.name for each in collector.trace(second.trace_id)}


def test_a_share_of_the_requests_begins_a_trace_and_the_caller_decides_for_its_own(built: Path, tmp_path: Path) -> None:
    unsampled = PARENT[:-1] + "0"
    with collecting() as collector:
        with opened_copy(built, tmp_path, traces_url=collector.url, traces_share=0.0) as running:
            running.get(f"/api/v1/recs/{FAN}", bearer(FAN))
        assert not collector.spans
        (tmp_path / "again").mkdir()
        with opened_copy(built, tmp_path / "again", traces_url=collector.url, traces_share=1.0) as running:
            running.get(f"/api/v1/recs/{FAN}", {**bearer(FAN), "traceparent": unsampled})
        assert not collector.spans


def test_events_show_their_stages_and_figures_point_at_their_trace(built: Path, tmp_path: Path) -> None:
    with collecting() as collector:
        with opened_copy(built, tmp_path, traces_url=collector.url, traces_share=1.0) as running:
            sent = running.client.post("/api/v1/events", json=rated(FAN, "crime-07"), headers=ADMIN)
            assert sent.json()["accepted"] == 1
            figures = running.get("/metrics", {"accept": "application/openmetrics-text"}).text
        root = "POST /api/v1/events"
        assert tree_of(collector.spans, root) >= {(root, "decode"), (root, "store"), (root, "invalidate")}
        assert f'trace_id="{collector.named(root)[0].trace_id}"' in figures


def test_spans_hold_no_user_no_address_and_no_token(built: Path, tmp_path: Path) -> None:
    with collecting() as collector:
        with opened_copy(built, tmp_path, traces_url=collector.url, traces_share=1.0) as running:
            # "testclient" is the address of this client, and would be its agent too.
            running.get(f"/api/v1/users/{FAN}?x=secret-query", {**bearer(FAN), "user-agent": "probe"})
            running.get(f"/api/v1/recs/{FAN}", bearer(FAN))
            running.get("/nowhere/secret-path", {**bearer(FAN), "user-agent": "probe"})
        assert len(collector.spans) > 5
        shown = str(collector.spans)
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
        open_tracing(url, "1", "api", 1.0)
