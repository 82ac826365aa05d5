"""A log line is one JSON object without control characters or secrets; a metric has a name and a meaning."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from app import spans, telemetry
from app.domain.masking import masked, names_a_secret
from app.log_format import MAX_LOGGED_CHARACTERS
from app.telemetry import REGISTRY, get_logger, user_hash

CANARY = "canary-5f1c"


def only_line(log_stream: io.StringIO) -> dict[str, object]:
    (line,) = log_stream.getvalue().split("\n")[:-1]
    parsed: dict[str, object] = json.loads(line)
    return parsed


@pytest.mark.parametrize("hostile", ["a\r\nb", "\x1b[31mred", "a\u2028b", "\x7f\x00", "\udcff", '{"level": "error"}\n'])
def test_no_input_can_break_a_line_or_reach_the_terminal(log_stream: io.StringIO, hostile: str) -> None:
    get_logger("t").info("seen", value=hostile)
    assert all(0x20 <= ord(character) < 0x7F for character in log_stream.getvalue().rstrip("\n"))
    assert only_line(log_stream)["value"] == hostile


def test_a_line_says_when_where_and_how_bad(log_stream: io.StringIO) -> None:
    get_logger("encore.t").warning("seen", answer=42)
    line = only_line(log_stream)
    assert (line["event"], line["level"], line["logger"], line["answer"]) == ("seen", "warning", "encore.t", 42)
    assert str(line["time"]).endswith("Z")


def test_libraries_log_through_the_same_lines(log_stream: io.StringIO) -> None:
    logging.getLogger("library").error("failed for %s", "a\nb", extra={"attempt": 2})
    line = only_line(log_stream)
    assert (line["event"], line["logger"], line["attempt"]) == ("failed for a\nb", "library", 2)


def test_secrets_are_masked_wherever_they_stand(log_stream: io.StringIO) -> None:
    get_logger("t").error(
        "failed",
        exc_info=RuntimeError(f"cannot reach redis://:{CANARY}@cache"),
        jwt_secret=CANARY,
        headers={"Authorization": CANARY, "x": f"Bearer {CANARY}"},
        url=f"postgresql://u:{CANARY}@db/x?sslpassword={CANARY}",
        urls=[f"s3://k:{CANARY}@bucket"],
    )
    assert CANARY not in log_stream.getvalue()
    assert "RuntimeError: cannot reach redis://:***@cache" in str(only_line(log_stream)["exception"])


def test_a_long_value_is_cut(log_stream: io.StringIO) -> None:
    get_logger("t").info("seen", value="x" * 100_000)
    assert len(str(only_line(log_stream)["value"])) == MAX_LOGGED_CHARACTERS + 1


def test_a_user_is_named_by_a_hash_that_is_stable_and_not_the_id() -> None:
    assert user_hash("u1") == user_hash("u1") != user_hash("u2")
    assert "u1" not in user_hash("u1")


def test_what_uvicorn_says_for_terminals_is_left_out(log_stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uvicorn", "uvicorn.error"):  # a server of another test may have closed them
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        monkeypatch.setattr(logging.getLogger(name), "level", logging.INFO)
    logging.getLogger("uvicorn.error").manager._clear_cache()  # type: ignore[attr-defined]  # levels are remembered
    told = {"color_message": "Started server process [\x1b[36m%d\x1b[0m]"}
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7, extra=told)
    line = only_line(log_stream)
    assert line["event"] == "Started server process [7]"
    assert "color_message" not in line


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_goes_on_under_its_ids_and_ends_with_its_block(log_stream: io.StringIO) -> None:
    with spans.traced(PARENT, "t"):
        assert spans.traceparent() == PARENT
        get_logger("t").info("seen")
    assert spans.traceparent() is None
    line = only_line(log_stream)
    assert (line["trace_id"], line["span_id"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@pytest.mark.parametrize("later", ["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-next"])
def test_a_later_version_of_the_header_is_understood_as_far_as_it_goes(later: str) -> None:
    with spans.traced(later, "t"):
        assert spans.traceparent() == PARENT


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        "",
        "00-1-2-01",
        PARENT.upper(),
        PARENT + "-more",
        PARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        "x" * 100_000,
    ],
)
def test_where_there_is_no_whole_trace_a_new_one_begins(damaged: str | None) -> None:
    seen = []
    for _ in range(2):
        with spans.traced(damaged, "t"):
            seen.append(spans.traceparent())
    assert all(parent is not None and re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", parent) for parent in seen)
    assert len({PARENT, *seen}) == 3


def test_a_process_finds_the_trace_it_goes_on_with_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", "somebody else's")
    assert spans.with_trace(PARENT)["TRACEPARENT"] == PARENT
    assert "TRACEPARENT" not in spans.with_trace(None)


def test_metrics_are_named_by_prometheus_rules_and_say_what_they_mean() -> None:
    ours = [family for family in REGISTRY.collect() if family.name.startswith("encore_")]
    assert len(ours) > 25
    for family in ours:
        assert family.documentation.endswith("."), family.name
        unit = ("_seconds", "_ratio") if family.type == "histogram" else ("",)
        assert family.name.endswith(unit), family.name


def test_every_metric_is_written_somewhere() -> None:
    folder = Path(telemetry.__file__).parent
    code = "\n".join(path.read_text() for path in folder.rglob("*.py"))
    metrics = [name for name, value in vars(telemetry).items() if isinstance(value, MetricWrapperBase)]
    assert [name for name in metrics if len(re.findall(rf"\b{name}\b", code)) < 2] == []  # its definition is one


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+asyncpg://encore:p@ss:w@db/encore", "postgresql+asyncpg://encore:***@db/encore"),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("s3://bucket/prefix?access_key=id&secret_key=abc", "s3://bucket/prefix?access_key=id&secret_key=***"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: Bearer ***"),
        ("user u1 at 10:30@home", "user u1 at 10:30@home"),
    ],
)
def test_masking_leaves_everything_but_the_secret(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_names_of_secrets_are_recognised() -> None:
    assert all(names_a_secret(name) for name in ("jwt_secret", "Authorization", "db_password", "api_key", "token"))
    assert not any(names_a_secret(name) for name in ("fencing_token_count", "key", "user", "tokens_used"))


@pytest.mark.parametrize(
    "hostile", ["x" * 1_000_000, "://a:" * 200_000, "?password" * 100_000, "password" * 100_000, "Bearer " * 100_000]
)
def test_masking_takes_linear_time(hostile: str) -> None:
    """Four times the text takes about four times the time; quadratic work would take sixteen times."""

    def seconds(text: str) -> float:
        times = []
        for _ in range(5):
            began = time.thread_time()
            masked(text)
            times.append(time.thread_time() - began)
        return min(times)

    assert seconds(hostile) < 10 * seconds(hostile[: len(hostile) // 4]) + 0.01
