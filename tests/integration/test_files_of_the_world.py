"""`encore import` on small files of the shapes that people have: right letters, times, lists and scales."""

from __future__ import annotations

import json
import os
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.integration.import_home import CLI, Home, at

EVENTS = "user_id,item_id,value,timestamp\n"


# ── what is recognised ───────────────────────────────────────────────────────────────────────────────────────────────


def bom(text: str, encoding: str) -> bytes:
    return ("\ufeff" + text).encode(encoding)


ROWS = "user_id,item_id,value\np1,s1,4\np2,s2,5\n"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", ROWS, {"separator": "comma", "encoding": "utf-8"}),
        ("a.csv", ROWS.replace(",", ";"), {"separator": "semicolon"}),
        ("a.csv", ROWS.replace(",", "\t"), {"separator": "tab"}),
        ("a.txt", ROWS.replace(",", "|"), {"separator": "pipe"}),
        ("a.dat", ROWS.replace(",", "::"), {"separator": "::", "header": True}),
        ("a.csv", "sep=;\n" + ROWS.replace(",", ";"), {"separator": "semicolon"}),
        ("a.csv", ROWS.replace(",", ", "), {"separator": "comma"}),
        ("a.csv", ROWS.replace("\n", "\r"), {"line_end": "CR"}),
        ("a.csv", ROWS.replace("\n", "\r\n"), {"line_end": "CRLF"}),
        ("a.csv", bom(ROWS, "utf-8"), {"encoding": "utf-8"}),
        ("a.csv", bom(ROWS, "utf-16-le"), {"encoding": "utf-16-le"}),
        ("a.csv", bom(ROWS, "utf-16-be"), {"encoding": "utf-16-be"}),
        ("a.csv", ROWS.encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("a.csv", bom(ROWS, "utf-32-le"), {"encoding": "utf-32-le"}),
        ("a.tsv", '"user_id"\t"item_id"\t"value"\n"p1"\t"s1"\t"4"\n"p2"\t"s2"\t"5"\n', {"separator": "tab"}),
        ("a.json", '[{"user_id":"p1","item_id":"s1","value":4},\n {"user_id":"p2","item_id":"s2","value":5}]', {}),
        ("a.json", '{"user_id":"p1","item_id":"s1","value":4}\n{"user_id":"p2","item_id":"s2","value":5}\n', {}),
        (
            "a.jsonl",
            "{'user_id': 'p1', 'item_id': u's1', 'value': 4}\n{'user_id': 'p2', 'item_id': 's2', 'value': 5}\n",
            {},
        ),
    ],
)
def test_a_file_is_recognised_as_what_it_is(
    home: Home, name: str, content: str | bytes, found: dict[str, object]
) -> None:
    home.write(name, content)

    tally = home.take(f"interactions {name}")

    assert [(event.user_id, event.item_id, event.value) for event in home.events()] == [
        ("p1", "s1", 4.0),
        ("p2", "s2", 5.0),
    ]
    assert found.items() <= tally["files"][name].items()
    assert tally["columns_used"] == {"user_id": "user_id", "item_id": "item_id", "value": "value"}
    assert tally["times"] == "no timestamps: dated by order, from 2000-01-01 on"


def test_letters_are_right_in_every_encoding(home: Home) -> None:
    home.write("west.csv", "item_id,title\nc1,The Painter’s House\nc2,Price €5 &amp; up\n".encode("cp1252"))
    home.write("east.csv", "item_id,title\nr1,Тихая река\n".encode("cp1251"))
    home.write("bad.csv", b"item_id,title\nk1,fine\nk2,\xff\xfe\n")

    [note] = home.take("items west.csv")["files"]["west.csv"]["notes"]
    home.take("items east.csv --encoding cp1251")
    bad = home.take("items bad.csv --encoding utf-8 --max-rejects 50%")

    assert "2 lines are not UTF-8 and were read as cp1252" in note
    assert bad["rejected"] == 1
    assert {item_id: item.title for item_id, item in (home.items()).items()} == {
        "c1": "The Painter’s House",
        "c2": "Price €5 &amp; up",
        "r1": "Тихая река",
        "k1": "fine",
    }


def test_what_stands_for_nothing_is_nothing(home: Home) -> None:
    years = ["1999", "NaN", "NULL", "\\N", "1999.0", "", "null", "nan", "None", "NA"]
    home.write("a.csv", "item_id,title,year\n" + "".join(f"n{n},A,{year}\n" for n, year in enumerate(years)))
    home.write("b.csv", "user_id,item_id\nNULL,i1\nu1,NaN\nu1,i1\n")

    assert home.take("items a.csv")["accepted"] == 10
    assert home.take("interactions b.csv --max-rejects 100%")["reasons"] == {
        "user_id is missing": 1,
        "item_id is missing": 1,
    }
    assert [item.year for item in (home.items()).values()] == [1999, *[None] * 3, 1999, *[None] * 5]


@pytest.mark.parametrize(
    "cell",
    [
        "Drama|Crime",
        '"Drama, Crime"',
        '"[""Drama"", ""Crime""]"',
        "\"['Drama', 'Crime']\"",
        "['Drama' 'Crime']",
        "\"{'Drama', 'Crime'}\"",
        '"[{""id"": 1, ""name"": ""Drama""}, {""id"": 2, ""name"": ""Crime""}]"',
        "\"[{'id': 1, 'name': 'Drama'}, {'id': 2, 'name': 'Crime'}]\"",
    ],
)
def test_a_list_is_a_list_however_it_is_written(home: Home, cell: str) -> None:
    home.write("a.csv", f"item_id,genres\nm1,{cell}\n")

    home.take("items a.csv")

    assert (home.items())["m1"].genres == ("Drama", "Crime")


def test_the_separator_of_lists_can_be_named(home: Home) -> None:
    home.write("a.csv", 'item_id,genres\nm1,"Crime, true/Drama"\n')

    home.take("items a.csv --list-separator /")

    assert (home.items())["m1"].genres == ("Crime, true", "Drama")


# ── damage stays in its row ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_quote_that_never_ends_costs_one_row(home: Home) -> None:
    home.write("a.csv", 'item_id,title\na,One\nb,"Two\nc,"Three"\nd,"Four\nlines"\n')

    tally = home.take("items a.csv --max-rejects 50%")

    assert tally["rejected"] == 1
    assert {item_id: item.title for item_id, item in (home.items()).items()} == {
        "a": "One",
        "c": "Three",
        "d": "Four\nlines",
    }


def test_a_line_without_end_costs_one_row(home: Home) -> None:
    home.write("a.csv", "item_id,title\na,One\nb," + "x" * 1_200_000 + "\nc,Three\n")

    tally = home.take("items a.csv --max-rejects 50%")

    assert tally["reasons"] == {"longer than 1,048,576 bytes": 1}
    assert list(home.items()) == ["a", "c"]


def test_damage_in_an_array_costs_one_row(home: Home) -> None:
    home.write("a.json", '[{"item_id": "a"}, {"item_id": oops}, {"item_id": "c"}]')
    home.write("cut.json", '[{"item_id": "a"}, {"item_')

    assert home.take("items a.json --max-rejects 50%")["rejected"] == 1
    assert list(home.items()) == ["a", "c"]
    assert home.run("items cut.json")[0] == 1


def test_rows_that_cannot_be_stored_are_refused_with_a_reason(home: Home) -> None:
    home.write(
        "a.jsonl",
        '{"item_id":"j1","title":["x"]}\n{"item_id":"j2","big":123456789012345678901234567890}\n'
        '{"item_id":"j3","txt":"\\ud800"}\n{"item_id":"j4","txt":"a\\u0000b"}\n{"item_id":"j5","f":1e400}\n'
        '{"item_id":"j6","score":NaN,"tags":[null]}\n',
    )

    tally = home.take("items a.jsonl --max-rejects 100%")

    assert tally["rejected"] == 5
    assert set(tally["reasons"]) == {
        "title is not text",
        "big is a number too large to be stored",
        "f is a number too large to be stored",
        "txt holds characters that cannot be stored, or bytes that are not in the file's encoding",
    }
    assert (home.items())["j6"].attributes == {}


def test_two_large_ids_stay_two(home: Home) -> None:
    numbers = [12345678901234567890123, 12345678901234567890124, 9007199254740993]
    rows = [json.dumps({"user_id": "p", "item_id": number}) for number in numbers]
    home.write("a.jsonl", "\n".join([*rows, '{"user_id":"p","item_id":true}', '{"user_id":"p","item_id":1.5}']))

    tally = home.take("interactions a.jsonl --max-rejects 50%")

    assert [event.item_id for event in home.events()] == [str(number) for number in numbers]
    assert tally["reasons"] == {"item_id is not text": 1, "item_id is a number that is not whole": 1}


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_type_of_parquet_is_read(home: Home) -> None:
    columns: dict[str, pa.Array] = {
        "item_id": pa.array([b"s1"], pa.binary()),
        "title": pa.array(["T"]).dictionary_encode(),
        "price": pa.array([Decimal("9.99")]),
        "day": pa.array([date(2020, 1, 1)]),
        "naive": pa.array([datetime(2026, 9, 21, 14, 13, 20)], pa.timestamp("ms")),  # noqa: DTZ001 - as the type has it
        "nanos": pa.array([1_790_000_000_123_456_789], pa.timestamp("ns", "Europe/Berlin")),
        "clock": pa.array([3_600_000_000_001], pa.time64("ns")),
        "span": pa.array([1_500_000_001], pa.duration("ns")),
        "pairs": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        "nested": pa.array([{"x": date(2020, 1, 1), "y": [float("nan"), 1.0]}]),
        "half": pa.array([1.5], pa.float32()),
        "year": pa.array([float("nan")]),
        "nothing": pa.nulls(1),
        "thumb": pa.array([b"\x00\xff"]),
        "late": pa.array([2**60], pa.timestamp("ms")),
        "genres": pa.array([["a", None, "b"]]),
    }
    late = columns.pop("late")
    pq.write_table(pa.table(columns), home.folder / "a.parquet")
    pq.write_table(pa.table({"item_id": ["s2"], "late": late}), home.folder / "late.parquet")

    tally = home.take("items a.parquet")
    refused = home.refuse("items late.parquet")

    [item] = (home.items()).values()
    assert (item.item_id, item.title, item.year, item.genres) == ("s1", "T", None, ("a", "b"))
    assert item.attributes == {
        "price": 9.99,
        "day": "2020-01-01",
        "naive": "2026-09-21T14:13:20",
        "nanos": "2026-09-21T14:13:20.123456+00:00",
        "clock": "01:00:00",
        "span": 1.5,
        "pairs": {"a": 1},
        "nested": {"x": "2020-01-01", "y": [None, 1.0]},
        "half": 1.5,
    }
    assert tally["files"]["a.parquet"]["notes"] == ["column thumb: bytes that are not UTF-8 were left out"]
    assert "every row was refused" in refused


def test_events_of_parquet_have_their_times_and_values(home: Home) -> None:
    table = pa.table(
        {
            "user_id": pa.array(["p1", "p2", "p3"]).dictionary_encode(),
            "item_id": pa.array([1.0, 2.0, None]),
            "value": pa.array([Decimal("4.5"), None, Decimal("3.0")]),
            "timestamp": pa.array([date(2026, 1, 2)] * 3),
        }
    )
    pq.write_table(table, home.folder / "a.parquet")

    tally = home.take("interactions a.parquet --max-rejects 50% --time-zone Europe/Berlin")

    assert tally["reasons"] == {"item_id is missing": 1}
    assert [(event.item_id, event.value, event.occurred_at) for event in home.events()] == [
        ("1", 4.5, at("2026-01-01T23:00")),
        ("2", None, at("2026-01-01T23:00")),
    ]


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cell", "options", "moment"),
    [
        ("1790000000000", "--time-unit ms", "2026-09-21T14:13:20"),
        ("1790000000000000", "--time-unit us", "2026-09-21T14:13:20"),
        ("1790000000000000000", "--time-unit ns", "2026-09-21T14:13:20"),
        ("2026-06-24 21:20:11", "--time-zone Europe/Berlin", "2026-06-24T19:20:11"),
        ("2026-06-24", "--time-zone UTC", "2026-06-24T00:00:00"),
        ("20260624", "--time-zone UTC", "2026-06-24T00:00:00"),
        ("2026-06-24T21:20:11+02:00", "--time-zone America/New_York", "2026-06-24T19:20:11"),
    ],
)
def test_times_are_read_as_somebody_says(home: Home, cell: str, options: str, moment: str) -> None:
    home.write("a.csv", f"{EVENTS}p1,s1,4,{cell}\n")

    home.take(f"interactions a.csv {options}")

    assert [event.occurred_at for event in home.events()] == [at(moment)]


def test_times_that_are_unclear_are_refused_with_the_option_that_helps(home: Home) -> None:
    home.write("ms.csv", f"{EVENTS}p1,s1,4,1790000000000\n")
    home.write("naive.csv", f"{EVENTS}p1,s1,4,2026-06-24\n")

    assert "--time-unit" in str(home.run("interactions ms.csv")[1])
    assert "--time-zone" in str(home.run("interactions naive.csv")[1])


def test_kinds_and_scales_are_converted(home: Home) -> None:
    home.write(
        "kinds.csv",
        "user_id,item_id,kind,timestamp\n"
        + "".join(f"p,{word},{word},1790000000\n" for word in ("VIEW", "addtocart", "transaction", "Purchase")),
    )
    home.write("scale.csv", EVENTS + "".join(f"p,{value},{value},1790000000\n" for value in (1, 5.5, 10)))

    home.take("interactions kinds.csv --map-kind addtocart=watchlist,transaction=purchase")
    home.take("interactions scale.csv --scale 1..10")

    assert [(event.kind.value, event.value) for event in home.events()] == [
        ("view", None),
        ("watchlist", 1.0),
        ("purchase", None),
        ("purchase", None),
        ("rating", 0.5),
        ("rating", 2.75),
        ("rating", 5.0),
    ]


def test_only_wanted_rows_are_taken(home: Home) -> None:
    home.write("a.csv", "user_id,item_id,label\np,a,1\np,b,0\np,c,1.0\n")

    tally = home.take("interactions a.csv --where label=1 --where item_id!=c")

    assert (tally["read"], tally["accepted"], tally["left_out"], tally["rejected"]) == (3, 1, 2, 0)
    assert "no column x (--where); it has user_id, item_id, label" in home.refuse("interactions a.csv --where x=1")


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("p1,s1,4,1790000000\n", "--no-header"),
        ("1790000000,s1,p1,4\n", "--columns timestamp,item_id,user_id,value"),
        ("4^s1^p1^1790000000\n", "--no-header --delimiter ^ --map user_id=3,item_id=2,value=1,timestamp=4"),
    ],
)
def test_a_file_without_a_header(home: Home, content: str, options: str) -> None:
    home.write("a.csv", content)

    home.take(f"interactions a.csv {options}")

    [event] = home.events()
    assert (event.user_id, event.item_id, event.value, event.occurred_at) == ("p1", "s1", 4, at("2026-09-21T14:13:20"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--map timestamp=When,value=score",
            "no column When (--map timestamp=When); it has user_id, item_id, when",
        ),
        ("--map item_id=a,item_id=b", "item_id twice"),
        ("--columns a,b", "the first row has 4 columns, --columns names 2"),
        ("--columns a,a,b,c", "each once"),
        ("--delimiter ab", "--delimiter"),
        ("--encoding klingon", "--encoding"),
        ("--encoding hex", "--encoding"),
        ("--time-zone Mars/Olympus", "--time-zone"),
        ("--scale 5..1", "--scale"),
        ("--scale nan..5", "--scale"),
        ("--map-kind a=b", "--map-kind"),
        ("--where label", "--where"),
        ("--max-rejects 101%", "--max-rejects"),
        ("--delimiter ;", "no column user_id and none item_id; it has user_id,item_id,when,score"),
    ],
)
def test_a_senseless_option_is_refused_and_nothing_is_taken(home: Home, options: str, message: str) -> None:
    home.write("a.csv", "user_id,item_id,when,score\np0,s0,1790000000,1\n")

    assert message in home.refuse(f"interactions a.csv {options}")
    assert home.events() == []


# ── the summary and the exit code ────────────────────────────────────────────────────────────────────────────────────


def test_exit_1_if_nothing_or_too_much_was_refused(home: Home) -> None:
    good = "".join(f"u{n},i\n" for n in range(9))
    home.write("ten.csv", f"user_id,item_id\n{good},i\n")
    home.write("nine.csv", f"user_id,item_id\n{good[6:]},i\n")
    home.write("none.csv", "user_id,item_id\n")

    assert home.run("interactions ten.csv")[0] == 0
    assert home.run("interactions ten.csv --max-rejects 9.9%")[0] == 1
    assert home.run("interactions nine.csv")[0] == 1
    assert "there is no row" in home.refuse("interactions none.csv")
    assert "--where" in home.refuse("interactions ten.csv --where user_id=x")


def test_a_dry_run_shows_the_rows_and_writes_nothing(home: Home) -> None:
    home.write("a.csv", "user_id,item_id,rating,when,junk\np1,s1,4,1790000000,x\np2,s2,9,1790000000,x\n")

    result = CliRunner().invoke(
        CLI, ["import", "interactions", str(home.folder / "a.csv"), "--dry-run", "--map", "timestamp=when"]
    )

    assert result.exit_code == 1  # half of the rows are refused
    assert "2026-09-21 14:13:20" in result.output
    assert "columns used: user_id, item_id, value = rating, timestamp = when" in result.output
    assert "columns not used: junk" in result.output
    assert "nothing was written" in result.output
    assert home.events() == []


def test_rows_without_times_are_known_again_in_a_file_that_has_grown(home: Home) -> None:
    home.write("a.csv", "user_id,item_id,rating\np1,s1,4\np2,s2,5\n")
    home.write("b.csv", "user_id,item_id,rating\np9,s9,4\np1,s1,4\np2,s2,5\n")
    home.write("views.csv", "user_id,item_id\nv,s1\nv,s1\n")

    home.take("interactions a.csv")
    grown = home.take("interactions b.csv")
    views = [home.take("interactions views.csv") for _ in range(2)]

    assert (grown["accepted"], grown["duplicates"], grown["rejected"]) == (1, 2, 0)
    assert [(tally["accepted"], tally["duplicates"]) for tally in views] == [(2, 0), (0, 2)]
    assert len(home.events()) == 5


def test_a_row_that_lost_to_a_newer_one_is_older(home: Home) -> None:
    second, first = (
        home.write("second.csv", "item_id,title\nw1,Right\n"),
        home.write("first.csv", "item_id,title\nw1,Wrong\n"),
    )
    os.utime(second, (1_700_000_000, 1_700_000_000))
    os.utime(first, (1_600_000_000, 1_600_000_000))

    home.take("items second.csv")
    again = home.take("items second.csv")
    older = home.take("items first.csv")

    assert (again["accepted"], again["duplicates"], again["older"]) == (0, 1, 0)
    assert (older["accepted"], older["duplicates"], older["older"]) == (0, 0, 1)
    assert (home.items())["w1"].title == "Right"


def test_a_later_mapping_of_the_same_file_wins(home: Home) -> None:
    home.write("a.csv", "id,name,category\nk1,Harbour Lights,drama\n")

    home.take("items a.csv --map item_id=id")
    home.take("items a.csv --map item_id=id,title=name,genres=category")

    item = (home.items())["k1"]
    assert (item.title, item.genres, item.attributes) == ("Harbour Lights", ("drama",), {})


def test_ids_may_be_what_people_have(home: Home) -> None:
    ids = ["José", "a/b", "Half Life 2", "x.y", ".dot", "https://e.org/1", "(12)", "日本", "x" * 256]
    home.write("a.csv", "user_id,item_id\n" + "".join(f"p,{one}\n" for one in ids) + "p,e\u0301\n")
    home.write("b.csv", "user_id,item_id\n p7,s1\np,..\np,a\u200bb\np," + "x" * 257 + "\n")

    home.take("interactions a.csv")
    code, found, _ = home.run("interactions b.csv")

    assert [event.item_id for event in home.events()] == [*ids, "é"]
    assert code == 1
    assert all("1 to 256 bytes of letters" in reason for reason in found["interactions"]["reasons"])
