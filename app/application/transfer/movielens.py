"""What lies where in a folder of ratings: the forms of GroupLens (CSV, `::`, ML-100k) and RecBole's.

Only items, users and ratings are read; GroupLens' tags.csv and links.csv are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.application.transfer.catalog_file_rows import Reading
from app.application.transfer.import_summary import ImportSummary
from app.application.transfer.importing import Taker
from app.application.transfer.interaction_file_rows import InteractionRows
from app.domain.entities import Kind
from app.domain.files import RowReader


@dataclass(frozen=True, slots=True)
class Part:
    """One file: how to find its fields. `columns` names those of a file without a header."""

    file: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    separator: str | None = "|"
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Layout:
    """A folder: items and users first, so that their interactions find them. `ratings` decides which layout it is."""

    items: Part
    ratings: Part
    users: Part | None = None


_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

GROUPLENS_100K = Layout(
    items=Part(
        "u.item",
        columns=("item_id", "title", "published_at", "video_release_date", "imdb_url", *_GENRES_100K),
        flags=frozenset(_GENRES_100K),
    ),
    users=Part("u.user", columns=("user_id", "age", "gender", "occupation", "zip_code")),
    ratings=Part("u.data", columns=("user_id", "item_id", "value", "timestamp")),
)
GROUPLENS_CSV = Layout(
    items=Part("movies.csv", {"item_id": "movieId"}),
    ratings=Part("ratings.csv", {"user_id": "userId", "item_id": "movieId", "value": "rating"}),
)
GROUPLENS_DAT = Layout(
    items=Part("movies.dat", columns=("item_id", "title", "genres")),
    users=Part("users.dat", columns=("user_id", "gender", "age", "occupation", "zip_code")),
    ratings=Part("ratings.dat", columns=("user_id", "item_id", "value", "timestamp")),
)


_GROUPLENS = (GROUPLENS_CSV, GROUPLENS_DAT, GROUPLENS_100K)


def part_of(name: str) -> Part | None:
    """What is known of a GroupLens file by its name, `u.data` or `movies.dat.gz`; None for any other."""
    plain = name.removesuffix(".gz").removesuffix(".zst")
    parts = (part for layout in _GROUPLENS for part in (layout.items, layout.users, layout.ratings))
    return next((part for part in parts if part is not None and part.file == plain and part.columns), None)


def recbole(stem: str) -> Layout:
    """`stem.inter`, `stem.item`, `stem.user`."""
    return Layout(
        items=Part(f"{stem}.item", {"title": "movie_title", "year": "release_year", "genres": "class"}, separator=" "),
        users=Part(f"{stem}.user"),
        ratings=Part(f"{stem}.inter", {"value": "rating"}),
    )


def layout_of(names: Sequence[str]) -> Layout | None:
    """The layout of a folder with these file names, or None."""
    for layout in _GROUPLENS:
        if layout.ratings.file in names or layout.items.file in names:
            return layout
    stems = sorted(name.removesuffix(".inter") for name in names if name.endswith(".inter"))
    return recbole(stems[0]) if len(stems) == 1 else None


async def import_folder(
    importer: Taker, layout: Layout, open_part: Callable[[Part], RowReader | None], now: datetime
) -> Mapping[str, ImportSummary]:
    """Take in the parts that are there (`open_part` returns None for one that is not); a tally of each."""
    tallies: dict[str, ImportSummary] = {}
    if (reader := open_part(layout.items)) is not None:
        tallies["items"] = await importer.items(reader, _reading(reader, layout.items, now))
    if layout.users is not None and (reader := open_part(layout.users)) is not None:
        tallies["users"] = await importer.users(reader, _reading(reader, layout.users, now))
    if (reader := open_part(layout.ratings)) is not None:
        tallies["interactions"] = await importer.interactions(
            reader, InteractionRows(now, layout.ratings.mapping, Kind.RATING)
        )
    return tallies


def _reading(reader: RowReader, part: Part, now: datetime) -> Reading:
    changed = datetime.fromtimestamp(reader.modified(), UTC)
    return Reading(now, changed, part.mapping, part.separator, is_year_in_title=True, flags=part.flags)
