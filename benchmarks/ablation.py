"""What each mechanism of selection is worth: none of them, each alone, all together, on generated shapes.

    python -m benchmarks.ablation [shop-190k tags one-target posts-1 …] [--scale 0.2] [--seed 0]

One JSON line per shape and setting. A mechanism is switched off where selection asks for it: its family is not
tried, its question is not asked, its ladder has one rung. docs/adr/0003 has the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest.mock import patch

from app.application.evaluation import new_items, selection, selection_queries
from app.application.evaluation.search_space import Family, families
from benchmarks.generated import measure
from benchmarks.shape_data import SHAPES

MECHANISMS = ("order", "fresh", "ladders", "new items", "judges", "proof", "profiles")
DEFAULT = ("shop-190k", "tags", "one-target", "posts-1")


@contextmanager
def only(kept: frozenset[str]) -> Iterator[None]:
    """Selection with these mechanisms alone."""
    with ExitStack() as off:
        build = families
        off.enter_context(
            patch.object(selection, "families", lambda *given: [f for one in build(*given) if (f := _less(one, kept))])
        )
        if "fresh" not in kept:
            off.enter_context(patch.object(selection_queries, "_fresh", lambda *given: None))
        if "new items" not in kept:
            off.enter_context(patch.object(selection_queries, "hidden_items", lambda *given: None))
        if "judges" not in kept:
            off.enter_context(patch.object(new_items, "JUDGED_TARGETS", new_items.JUDGES))
        if "proof" not in kept:
            off.enter_context(patch.object(selection, "proven", lambda pool, weights: dict(weights)))
        yield


def _less(family: Family, kept: frozenset[str]) -> Family | None:
    if "order" not in kept:
        if family.name == "transitions":
            return None
        family = replace(family, readings=())
    if "ladders" not in kept:
        family = replace(family, sizes=())
    if "profiles" not in kept:
        if family.name == "lightfm":
            return None
        if family.name == "profile":
            family = replace(family, ladder=family.ladder[:1])
    if "new items" not in kept and family.name == "content":
        family = replace(family, variants=())
    return family


def main() -> int:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=[], choices=[*SHAPES, []])
    parser.add_argument("--scale", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    settings = {"none": frozenset[str](), **{f"{one} alone": frozenset({one}) for one in MECHANISMS}}
    settings["all"] = frozenset(MECHANISMS)
    for name in given.shapes or DEFAULT:
        made = SHAPES[name](given.seed, given.scale)
        for label, kept in settings.items():
            with only(kept):
                measure(f"{name}: {label}", made, given.seed, 120.0, singles=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
