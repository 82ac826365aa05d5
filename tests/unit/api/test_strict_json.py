"""JSON that two parsers could read differently, or that nothing of ours can hold, is refused (H5–H7, H9–H12, H16)."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.strict_json import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_VALUES,
    MalformedJsonError,
    UnacceptableJsonError,
    _refuse_monstrous,
    parse_json,
)

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


DEEP = MAX_DEPTH + 1


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"[" * DEEP + b"]" * DEEP, MalformedJsonError),
        (b'{"a":' * DEEP + b"0" + b"}" * DEEP, MalformedJsonError),
        (b"[" + b",".join([b"[" * DEEP + b"]" * DEEP] * 3) + b"]", MalformedJsonError),
        (b'["\\"", ' + b"[" * DEEP + b"]" * DEEP + b"]", MalformedJsonError),
        (b'["\\\\", ' + b"[" * DEEP + b"]" * DEEP + b"]", MalformedJsonError),
        (b"[" + b",".join([b"[]"] * (MAX_CONTAINERS + 1)) + b"]", UnacceptableJsonError),
        (b"[" + b",".join([b"{}"] * (MAX_CONTAINERS + 1)) + b"]", UnacceptableJsonError),
        (b"[" + b",".join([b"0"] * (MAX_VALUES + 2)) + b"]", UnacceptableJsonError),
    ],
    ids=["arrays", "objects", "some", "after a quote", "after a backslash", "many", "many objects", "many numbers"],
)
def test_json_too_deep_or_too_rich_is_refused_before_it_is_read(body: bytes, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        _refuse_monstrous(body)
    with pytest.raises(refusal):
        parse_json(body)


@pytest.mark.parametrize(
    "value",
    ["[" * 1_000, '"' + "[" * 1_000, "\\" + "{" * 1_000, '\\"[' * 1_000, "," * (MAX_VALUES + 1)],
    ids=["brackets", "a quote", "a backslash", "both", "commas"],
)
def test_brackets_and_commas_in_texts_are_letters(value: str) -> None:
    for body in (json.dumps(value), json.dumps([[value], {value: value}])):
        assert parse_json(body.encode()) == json.loads(body)


def test_the_greatest_depth_and_number_are_accepted() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse_json(deep) == json.loads(deep)
    many = b"[" + b",".join([b"[]"] * (MAX_CONTAINERS - 1)) + b"]"
    assert parse_json(many) == json.loads(many)


@given(JSON, st.integers(50, 70))
def test_the_look_ahead_sees_the_depth_that_there_is(value: object, times: int) -> None:
    def depth(node: object) -> int:
        if isinstance(node, dict):
            node = list(node.values())
        return 1 + max(map(depth, node), default=0) if isinstance(node, list) else 0

    for _ in range(times):
        value = [value]
    text = json.dumps(value, ensure_ascii=False).encode()
    is_refused = False
    try:
        _refuse_monstrous(text)
    except MalformedJsonError:
        is_refused = True
    assert is_refused == (depth(value) > MAX_DEPTH)


def test_an_object_with_far_too_many_members_is_refused_fast() -> None:
    body = json.dumps({f"k{n}": 0 for n in range(300_000)}).encode()
    started = time.thread_time()
    with pytest.raises(UnacceptableJsonError):
        parse_json(body)
    assert time.thread_time() - started < 2.0
