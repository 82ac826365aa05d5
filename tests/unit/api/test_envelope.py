"""Envelopes that are refused before routing (H8, H22–H29, H36–H39, H4)."""

from __future__ import annotations

from typing import Any

import pytest

from app.api import problems
from app.api.envelope import EnvelopeLimits, envelope_problem, is_json

LIMITS = EnvelopeLimits()


def scope(
    path: bytes = b"/api/v1/recs/u1", query: bytes = b"", method: str = "GET", headers: Any = ()
) -> dict[str, Any]:
    return {"raw_path": path, "query_string": query, "method": method, "headers": list(headers)}


def kind(**parts: Any) -> problems.ProblemType | None:
    problem = envelope_problem(scope(**parts), LIMITS)
    return None if problem is None else problem.type


@pytest.mark.parametrize(
    "path",
    [b"/", b"/health", b"/api/v1/recs/u1", b"/api/v1/recs/a.b-c_d~e:f@g", b"/api/v1/recs/%75%31", b"/api/v1/recs/-x",
     b"/api/v1/recs/auth0%7C5f"],
)  # fmt: skip
def test_ordinary_paths_pass(path: bytes) -> None:
    assert kind(path=path) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/api/v1/recs/a%00b", problems.INVALID),
        (b"/api/v1/recs/a%0d%0aX:%201", problems.INVALID),
        (b"/api/v1/recs/a%7f", problems.INVALID),
        (b"/api/v1/recs/%e2%80%a8", problems.INVALID),
        (b"/api/v1/recs/%ff", problems.BAD_REQUEST),
        (b"/api/v1/recs/%c3", problems.BAD_REQUEST),
        (b"/api/v1/recs/%zz", problems.BAD_REQUEST),
        (b"/api/v1/recs/%", problems.BAD_REQUEST),
        (b"/api/v1/recs/..%2f..%2fetc", problems.NOT_FOUND),
        (b"/api/v1/recs/%2e%2e", problems.NOT_FOUND),
        (b"/api/v1/recs/..;/x", problems.NOT_FOUND),
        (b"/api/v1/recs/%252e", problems.NOT_FOUND),
        (b"/api/v1/recs/a%5cb", problems.NOT_FOUND),
        (b"//api/v1/recs/u1", problems.NOT_FOUND),
        (b"/api/v1/recs/u1/", problems.NOT_FOUND),
        (b"/api/./v1", problems.NOT_FOUND),
        (b"/" + b"a" * 70_000, problems.URI_TOO_LONG),
    ],
    ids=lambda value: value.decode("latin-1")[:30] if isinstance(value, bytes) else "",
)
def test_paths_that_could_be_read_in_two_ways_do_not(path: bytes, expected: problems.ProblemType) -> None:
    assert kind(path=path) is expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"limit=1&offset=2", None),
        (b"genre=a&genre=b&exclude=1&exclude=2", None),
        (b"genre=science%20fiction", None),
        (b"limit=1&limit=2", problems.INVALID),
        (b"limit=1&%6cimit=2", problems.INVALID),
        (b"genre=%00", problems.INVALID),
        (b"genre=%ff", problems.BAD_REQUEST),
        (b"genre=\xff", problems.BAD_REQUEST),
        (b"genre=%u0000", problems.BAD_REQUEST),
    ],
)
def test_queries_are_plain_and_scalars_come_once(query: bytes, expected: problems.ProblemType | None) -> None:
    assert kind(query=query) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"host", b"x")] * 65, problems.HEADERS_TOO_LARGE),
        ([(b"x", b"y" * 17_000)], problems.HEADERS_TOO_LARGE),
        ([(b"x", b"a\x00b")], problems.BAD_REQUEST),
        ([(b"x", b"a\rb")], problems.BAD_REQUEST),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], problems.BAD_REQUEST),
        ([(b"transfer-encoding", b"chunked, identity")], problems.BAD_REQUEST),
        ([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], problems.BAD_REQUEST),
        ([(b"content-length", b"1"), (b"content-length", b"2")], problems.BAD_REQUEST),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], problems.AMBIGUOUS_CREDENTIALS),
        ([(b"authorization", b"Bearer a"), (b"x-api-key", b"rec_x")], problems.AMBIGUOUS_CREDENTIALS),
        ([(b"host", b"evil.example"), (b"origin", b"null"), (b"range", b"bytes=0-")], None),
    ],
)
def test_headers_are_bounded_and_say_one_thing(headers: Any, expected: problems.ProblemType | None) -> None:
    assert kind(headers=headers) is expected


@pytest.mark.parametrize(
    ("content_type", "accepted"),
    [
        (b"application/json", True),
        (b"Application/JSON; charset=UTF-8", True),
        (b"application/cloudevents+json", True),
        (b"application/json; charset=utf-16", False),
        (b"application/json; boundary=x", False),
        (b"text/plain", False),
        (b"application/x-www-form-urlencoded", False),
        (b"multipart/form-data; boundary=x", False),
        (b"", False),
    ],
)
def test_only_utf_8_json_is_read(content_type: bytes, accepted: bool) -> None:
    assert is_json(content_type) is accepted
    headers = [(b"content-length", b"2"), (b"content-type", content_type)]
    assert kind(method="POST", headers=headers) is (None if accepted else problems.UNSUPPORTED_MEDIA)


def test_a_post_without_a_body_needs_no_content_type() -> None:
    assert kind(method="POST", headers=[(b"content-length", b"0")]) is None
    assert kind(method="POST") is None


def test_compressed_bodies_are_refused() -> None:
    headers = [(b"content-length", b"2"), (b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
    assert kind(method="POST", headers=headers) is problems.UNSUPPORTED_MEDIA
