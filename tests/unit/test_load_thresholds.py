"""A load test that did nothing must fail, and so must one that was slow or had errors."""

from __future__ import annotations

from pathlib import Path

from benchmarks.locust_load import Thresholds, broken, figures_of

GOOD = {"requests": 1_000.0, "failures": 0.0, "p99_ms": 80.0}


def test_a_good_run_breaks_nothing() -> None:
    assert broken(GOOD, 10.0, Thresholds()) == []


def test_each_threshold_is_named() -> None:
    assert "fewer than" in broken({**GOOD, "requests": 199.0}, 10.0, Thresholds())[0]
    assert "failed" in broken({**GOOD, "failures": 2.0}, 10.0, Thresholds())[0]
    assert "p99" in broken({**GOOD, "p99_ms": 501.0}, 10.0, Thresholds())[0]


def test_a_run_without_a_summary_counts_as_no_requests(tmp_path: Path) -> None:
    assert broken(figures_of(tmp_path), 6.0, Thresholds())
    (tmp_path / "load_stats.csv").write_text(
        "Type,Name,Request Count,Failure Count,99%\nGET,/x,5,1,7\n,Aggregated,9,1,40\n"
    )
    assert figures_of(tmp_path) == {"requests": 9.0, "failures": 1.0, "p99_ms": 40.0}
