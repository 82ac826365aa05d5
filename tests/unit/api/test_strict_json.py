"""JSON that two parsers could read differently, or that nothing of ours can hold, is refused (H5–H7, H9–H12, H16)."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.strict_json import MalformedJsonError, UnacceptableJsonError, parse_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"nul",
        b"NaN",
        b'{"a":Infinity}',
        b"-Infinity",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b"{}{}",
        b'"\x01"',
        b"01",
        b"[" * 100_000,
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_not_json_or_is_ambiguous_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJsonError):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [b"1e999", b'{"a":-1e400}', b"9" * 5_000, b'"\\u0000"', b'{"a\\u0000":1}', b'["\\ud800"]', b'{"a":"\\udc00x"}'],
    ids=lambda body: repr(body[:12]),
)
def test_values_nothing_can_hold_are_unacceptable(body: bytes) -> None:
    with pytest.raises(UnacceptableJsonError):
        parse_json(body)


def test_whole_surrogate_pairs_are_one_character() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


@given(JSON)
def test_everything_else_reads_as_the_standard_parser_reads_it(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text.encode()) == json.loads(text)


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_raise_anything_else(body: bytes) -> None:
    with contextlib.suppress(MalformedJsonError, UnacceptableJsonError):
        parse_json(body)


def test_an_object_with_far_too_many_members_is_refused_fast() -> None:
    body = json.dumps({f"k{n}": 0 for n in range(300_000)}).encode()
    started = time.perf_counter()
    with pytest.raises(UnacceptableJsonError):
        parse_json(body)
    assert time.perf_counter() - started < 2.0
