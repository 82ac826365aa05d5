"""Whom a payload names, whatever shape it has."""

from __future__ import annotations

import json

import pytest

from app.domain.naming import names_in, spellings


@pytest.mark.parametrize(
    "payload",
    [
        b'{"user_id": "anna-1", "rating": 9}',
        b'{"data": [{"who": {"id": "anna-1"}}]}',
        b'{"user_id":"anna-1","rating":',
        b'\x00\x00\x00\x00\x07{"user_id": "anna-1"}',
        b'\x01\x02{"user_id": "anna-1", "x": "\xff\xfe"',
        b"anna-1;42;2026-01-01",
        b"user_id=anna-1&rating=4",
        b"<user>anna-1</user>",
        b"user:anna-1 watched v7",
        b'"anna-1"',
        b'{"anna-1": 3}',
        b'{"text": "anna-1 was here"}',
    ],
)
def test_a_name_is_found(payload: bytes) -> None:
    assert "anna-1" in names_in(payload)


@pytest.mark.parametrize("payload", [b'{"user_id": "anna-12"}', b'{"user_id": "xanna-1"}', b"anna-1x;", b""])
def test_part_of_another_name_is_not(payload: bytes) -> None:
    assert "anna-1" not in names_in(payload)


@pytest.mark.parametrize("user_id", ["zoë 7", "日本", 'a"b', "o'neil"])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_names_are_found_however_they_are_spelt(user_id: str, is_ascii: bool) -> None:
    whole = json.dumps({"user_id": user_id}, ensure_ascii=is_ascii)

    for text in (whole, whole[:-1]):
        assert user_id in names_in(text.encode())
        assert any(part in text.encode() for part in spellings(user_id))


def test_numbers_are_names_and_how_many_are_looked_at_is_bounded() -> None:
    assert "1234" in names_in(b'{"user_id": 1234}')
    assert len(names_in(json.dumps([str(n) for n in range(900)]).encode(), 64)) <= 66
