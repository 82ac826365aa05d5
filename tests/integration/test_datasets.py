"""The lines of docs/datasets.md, each run as it stands there on a small file of the same shape."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner

from tests.integration.import_home import CLI, Home, at

T = TypeVar("T")
PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"
LINES = [line for line in PAGE.read_text().splitlines() if line.startswith(("encore import", "awk"))]

FLAGS = "|".join("1" if place in {5, 8} else "0" for place in range(19))
FILES: dict[str, bytes] = {
    "ml-100k/u.data": b"196\t242\t3\t881250949\n186\t302\t4\t891717742\n",
    "ml-100k/u.item": (f"242|Misérables, Les (1995)|01-Jan-1995||http://x.org/a%20b|{FLAGS}\n").encode("latin-1"),
    "ml-100k/u.user": b"196|49|M|writer|55105\n",
    "ml-1m/ratings.dat": b"1::1193::5::978300760\n",
    "ml-1m/movies.dat": "1193::Amélie (2001)::Comedy|Romance\n".encode("latin-1"),
    "ml-1m/users.dat": b"1::F::1::10::48067\n",
    "ml-latest-small/ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n",
    "ml-latest-small/movies.csv": b'movieId,title,genres\n1,"American President, The (1995)",Comedy|Drama\n',
    "goodbooks/ratings.csv": b"user_id,book_id,rating\n1,258,5\n2,4081,4\n",
    "goodbooks/books.csv": b'book_id,authors,original_publication_year,title\n258,"A, B",2008.0,The Wind\n'
    b"4081,C,,Two\n",
    "BX-Books.csv": '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication"\n'
    '"034545104X";"The \\"Real\\" Caf\xe9 &amp; Co";'
    '"M";"2002"\n'.encode("cp1252"),
    "BX-Book-Ratings.csv": b'"User-ID";"ISBN";"Book-Rating"\n"276725";"034545104X";"0"\n"276726";"0155061224";"5"\n',
    "usersha1-artmbid-artname-plays.tsv": b"00000c289a1829a808ac\t3bd73256-3905\tbetty blowtorch\t2137\n"
    b'00000c289a1829a808ac\t\t"weird al" yankovic\t12\n',
    "events.csv": b"timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
    b"1433224214164,992329,addtocart,248676,\n1433222276276,599528,transaction,356475,4000\n",
    "Books.jsonl": b'{"rating": 5.0, "title": "Nice", "images": [], "asin": "B1", "parent_asin": "B2",'
    b' "user_id": "AE2", "timestamp": 1588687728923}\n',
    "reviews_Books_5.json": b'{"reviewerID": "A10", "asin": "000", "helpful": [0, 0], "reviewText": "x",'
    b' "overall": 5.0, "unixReviewTime": 1355616000, "reviewTime": "12 16, 2012"}\n',
    "steam_games.json": b"{u'id': u'761140', u'title': u'Lost \"Kings\"', u'genres': [u'Action', u'Indie'],"
    b" u'release_date': u'2018-01-04', u'early_access': False}\n",
    "steam_reviews.json": b"{u'username': u'Chaos Syren', u'hours': 0.1, u'product_id': u'725280',"
    b" u'date': u'2017-12-17'}\n",
    "combined_data_1.txt": b"1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n2059652,4,2005-09-05\n",
}
EVENTS: dict[str, list[tuple[str, str, str, float | None, str | None]]] = {
    "movielens ml-100k": [
        ("196", "242", "rating", 3, "1997-12-04T15:55:49"),
        ("186", "302", "rating", 4, "1998-04-04T19:22:22"),
    ],
    "movielens ml-1m": [("1", "1193", "rating", 5, "2000-12-31T22:12:40")],
    "movielens ml-latest-small": [("1", "1", "rating", 4, "2000-07-30T18:45:03")],
    "interactions goodbooks/ratings.csv": [("1", "258", "rating", 5, None), ("2", "4081", "rating", 4, None)],
    "interactions BX-Book-Ratings.csv --map item_id=ISBN,value=Book-Rating": [
        ("276726", "0155061224", "rating", 2.5, None)
    ],
    "interactions BX-Book-Ratings.csv --map item_id=ISBN,value= ": [("276725", "034545104X", "view", None, None)],
    "interactions usersha1": [
        ("00000c289a1829a808ac", "betty blowtorch", "view", 2137, None),
        ("00000c289a1829a808ac", '"weird al" yankovic', "view", 12, None),
    ],
    "interactions events.csv": [
        ("257597", "355908", "view", None, "2015-06-02T05:02:12.117"),
        ("992329", "248676", "watchlist", 1, "2015-06-02T05:50:14.164"),
        ("599528", "356475", "purchase", None, "2015-06-02T05:17:56.276"),
    ],
    "interactions Books.jsonl": [("AE2", "B2", "rating", 5, "2020-05-05T14:08:48.923")],
    "interactions reviews_Books_5.json": [("A10", "000", "rating", 5, "2012-12-16T00:00:00")],
    "interactions steam_reviews.json": [("Chaos Syren", "725280", "purchase", None, "2017-12-17T00:00:00")],
    "interactions netflix.csv": [
        ("1488844", "1", "rating", 3, "2005-09-06T00:00:00"),
        ("822109", "1", "rating", 5, "2005-05-13T00:00:00"),
        ("2059652", "2", "rating", 4, "2005-09-05T00:00:00"),
    ],
}
ITEMS: dict[str, tuple[str, str, int | None, tuple[str, ...]]] = {
    "movielens ml-100k": ("242", "Misérables, Les", 1995, ("Comedy", "Drama")),
    "movielens ml-1m": ("1193", "Amélie", 2001, ("Comedy", "Romance")),
    "movielens ml-latest-small": ("1", "American President, The", 1995, ("Comedy", "Drama")),
    "items goodbooks/books.csv": ("258", "The Wind", 2008, ()),
    "items BX-Books.csv": ("034545104X", 'The "Real" Café &amp; Co', 2002, ()),
    "items steam_games.json": ("761140", 'Lost "Kings"', None, ("Action", "Indie")),
}


def known(line: str, cases: Mapping[str, T]) -> T | None:
    return next((case for key, case in cases.items() if key in line), None)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("encore")])
def test_a_line_of_the_page_takes_its_data_set(home: Home, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    for name, content in FILES.items():
        (home.folder / name).parent.mkdir(exist_ok=True)
        (home.folder / name).write_bytes(content)
    monkeypatch.chdir(home.folder)
    [awk] = [one for one in LINES if one.startswith("awk")]
    subprocess.run(["/bin/sh", "-c", awk], check=True)

    result = CliRunner().invoke(CLI, home.words(line.removeprefix("encore ")))

    assert result.exit_code == 0, result.output
    events, item = known(line, EVENTS), known(line, ITEMS)
    assert events or item, "a line without an expectation"
    if events:
        taken = home.events()
        assert [(e.user_id, e.item_id, e.kind.value, e.value) for e in taken] == [one[:4] for one in events]
        assert [one[4] and e.occurred_at for e, one in zip(taken, events, strict=True)] == [
            one[4] and at(one[4]) for one in events
        ]
    if item:
        stored = home.items()[item[0]]
        assert (stored.item_id, stored.title, stored.year, stored.genres) == item


def test_every_data_set_of_the_table_has_a_line() -> None:
    text = "\n".join(LINES)
    for name in ("ml-100k", "ml-1m", "goodbooks", "BX-", "usersha1", "events.csv", "Books", "steam", "netflix"):
        assert name in text
