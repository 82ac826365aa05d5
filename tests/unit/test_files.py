"""Readers and writers of files: what went in comes out; what is damaged is named by its line."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain.exceptions import InputError
from app.domain.files import RowBatch
from app.infrastructure.files import open_reader, open_writer

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst", ".parquet")


def read(path: Path, size: int = 100, columns: Sequence[str] | None = None) -> list[RowBatch]:
    return list(open_reader(path, columns).batches(size))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    writer = open_writer(path, ("item_id", "title"))
    writer.write([("a", 'odd "text", with\nlines\r\n'), ("b", "日本")])
    writer.write([("c", "é|ü::\t")])
    writer.close()

    batches = read(path, size=2)

    assert [list(row) for batch in batches for row in batch.rows] == [
        ["a", 'odd "text", with\nlines\r\n'],
        ["b", "日本"],
        ["c", "é|ü::\t"],
    ]
    assert len(batches) == 2
    assert all(len(batch.rows) <= 2 for batch in batches)
    assert not any(batch.broken for batch in batches)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    writer = open_writer(path, ("item_id",))
    writer.write([("a",)])
    assert not path.exists()

    writer.drop()

    assert list(tmp_path.iterdir()) == []


def test_values_keep_their_meaning_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    moment = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    writer = open_writer(path, ("item_id", "updated_at", "genres", "year", "available", "attributes"))
    writer.write([("a", moment, ["x", "y"], 1999, False, {"k": [1]}), ("b", None, [], None, True, {})])
    writer.close()

    [batch] = read(path)

    assert list(batch.rows[0]) == ["a", moment, ["x", "y"], 1999, False, '{"k": [1]}']
    assert list(batch.rows[1]) == ["b", None, [], None, True, "{}"]
    assert list(batch.lines) == [1, 2]


def test_lines_are_counted_over_quoted_line_feeds_and_empty_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", 'user_id,item_id\nu1,"a\nb"\n\nu2,c,too many\nu3,d\n')

    [batch] = read(path)

    assert [(line, list(row)) for line, row in zip(batch.lines, batch.rows, strict=True)] == [
        (2, ["u1", "a\nb"]),
        (6, ["u3", "d"]),
    ]
    assert [(row.line, row.reason, row.text) for row in batch.broken] == [
        (5, "3 columns instead of 2", "u2,c,too many")
    ]


def test_a_line_that_is_not_csv_is_one_broken_row(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", 'user_id,item_id\nu1,"a"b\nu2,c\n')

    [batch] = read(path)

    assert [row.reason for row in batch.broken] == ["not CSV"]
    assert [list(row) for row in batch.rows] == [["u2", "c"]]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_values(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbfuser_id,item_id\r\nu1,i1\r\n")

    [batch] = read(path)

    assert batch.columns == ("user_id", "item_id")
    assert [list(row) for row in batch.rows] == [["u1", "i1"]]


def test_typed_headers_and_tabs_are_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "x.inter", "user_id:token\titem_id:token\trating:float\n1\t2\t3.5\n")

    [batch] = read(path)

    assert batch.columns == ("user_id", "item_id", "rating")
    assert [list(row) for row in batch.rows] == [["1", "2", "3.5"]]


def test_grouplens_dat_files_are_latin_1_and_have_no_header(tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    path.write_bytes("1::Amélie (2001)::Comedy|Romance\n".encode("latin-1"))

    [batch] = read(path, columns=("item_id", "title", "genres"))

    assert [list(row) for row in batch.rows] == [["1", "Amélie (2001)", "Comedy|Romance"]]


def test_json_lines_that_are_no_objects_are_broken_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", '{"user_id":"u1","n":1}\n[1]\n{oops\n\n{"user_id":"u2","m":2}\n')

    [batch] = read(path)

    assert batch.columns == ("user_id", "n", "m")
    assert [list(row) for row in batch.rows] == [["u1", 1, None], ["u2", None, 2]]
    assert list(batch.lines) == [1, 5]
    assert [(row.line, row.reason) for row in batch.broken] == [(2, "not a JSON object"), (3, "not JSON")]


def test_deeply_nested_json_is_a_broken_row(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", "[" * 100_000 + "\n" + '{"user_id":"u1"}\n')

    [batch] = read(path)

    assert len(batch.broken) == 1
    assert len(batch.rows) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"user_id,user_id\n"),
        ("a.csv", b"x" * 1_100_000),
        ("a.csv.gz", b"not gzip"),
        ("a.csv.gz", gzip.compress(b"user_id\n" + b"u\n" * 9_999, mtime=0)[:40]),
        ("a.csv.zst", b"not zstd"),
        ("a.parquet", b"PAR1 not really"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(InputError):
        read(path)


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.parquet.gz.pdf", "a.gz"])
def test_a_suffix_nobody_knows_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="must end in"):
        open_reader(tmp_path / name)
    with pytest.raises(InputError, match="must end in"):
        open_writer(tmp_path / name, ("user_id",))


def test_the_fraction_read_rises_to_one(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "user_id,item_id\n" + "u1,i1\n" * 200_000)
    reader = open_reader(path)

    fractions = [reader.fraction() for _ in reader.batches(20_000)]

    assert fractions == sorted(fractions)
    assert fractions[0] < 0.5
    assert fractions[-1] == 1.0
