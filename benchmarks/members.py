"""The blend beside every single recommender and popularity, on public ratings split by time.

    python -m benchmarks.members [ml-latest-small ml-100k]

The newest tenth of the ratings is the test, as in `encore train`; every single recommender has its parameters chosen by
the same selection. NDCG@10 with 95 % bootstrap intervals, and the share of paired resamples in which the blend is at
least as good. Data: ENCORE_BENCH_DATA.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

from app.application.evaluation.event_table import EventTable
from app.application.evaluation.pipeline import judge_all, prepare, train
from app.application.transfer.catalog_file_rows import ITEMS, USERS, CatalogRows, Entry, Reading
from app.application.transfer.movielens import Layout, Part, layout_of
from app.commands.quality.data import data_folder
from app.domain.entities import EventColumns
from app.domain.metrics import probability_better
from app.domain.recommender import Scorer
from app.domain.splits import time_split
from app.infrastructure.files import open_reader
from app.models import RECOMMENDERS
from benchmarks.machine import report
from benchmarks.odd_shapes import silent

BENCHMARK = "members"
FOLDERS = ("ml-latest-small", "ml-100k")
SINGLE = ("popularity", "trending", "profile", "sequence", "rp3", "item-item", "graph", "ials", "ease", "content")
_TEST, _ROWS = 0.1, 5_000
_SQUARE = 5_000
"""EASE inverts a square of the items; selection does not try it on more either."""


def events_of(folder: Path, layout: Layout) -> EventColumns:
    """The ratings of a folder."""
    table = EventTable()
    table.read(open_reader(folder / layout.ratings.file), layout.ratings.mapping)
    return table.columns()


def entries_of(folder: Path, part: Part, rows: CatalogRows[Entry]) -> Sequence[Entry]:
    """Items or users of a folder."""
    reader = open_reader(folder / part.file, part.columns or rows.columns)
    changed = datetime(2000, 1, 1, tzinfo=UTC)
    reading = Reading(datetime.now(UTC), changed, part.mapping, part.separator, is_year_in_title=True)
    return [entry for batch in reader.batches(_ROWS) for entry in rows.decode(batch, reading)[0]]


def compare(name: str) -> None:
    """Print a line per recommender."""
    folder = data_folder() / name
    layout = layout_of([path.name for path in folder.iterdir()])
    assert layout is not None, "a folder of ratings"
    events, test = time_split(events_of(folder, layout), _TEST)
    users = entries_of(folder, layout.users, USERS) if layout.users is not None else ()
    dataset, asked = prepare(events, test, entries_of(folder, layout.items, ITEMS), users)
    scorers: dict[str, Scorer] = {}
    seconds = {}
    for kind in ("hybrid", *SINGLE):
        if (kind == "profile" and dataset.user_features is None) or (kind == "ease" and dataset.n_items > _SQUARE):
            continue
        began = process_time()
        scorers[kind] = train(dataset, RECOMMENDERS, model_type=kind, progress=silent).recommender
        seconds[kind] = round(process_time() - began, 1)
    found = judge_all(scorers, dataset, asked, seed=0, names=("ndcg@10",), progress=silent)
    ours = found["hybrid"].per_user["ndcg@10"]
    for kind, one in found.items():
        low, high = one.intervals["ndcg@10"]
        better = probability_better(ours, one.per_user["ndcg@10"], factor=1.0, seed=0)
        more = {"low": round(low, 4), "high": round(high, 4), "blend_at_least_as_good": better}
        report(
            BENCHMARK, kind, one.mean("ndcg@10"), "ndcg@10", data=name, cpu_s=seconds[kind], users=len(asked), **more
        )


def main() -> None:
    """Both folders, or those named."""
    for name in sys.argv[1:] or FOLDERS:
        compare(name)


if __name__ == "__main__":
    main()
