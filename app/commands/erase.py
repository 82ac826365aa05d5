"""`encore erase`: forget people in every store, and again after a backup was restored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.audit import actor
from app.commands.shared import JsonFlag, fail, output, progress, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.application.erasing.again import Again
    from app.bootstrap import Container
    from app.domain.erasure import Erasure

_COLUMNS = ("erasure", "people", "store", "found", "removed", "found again")


def register(app: typer.Typer) -> None:
    """Add `encore erase`."""
    app.command("erase")(erase)


def erase(
    users: Annotated[list[str] | None, typer.Argument(help="User ids.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file with one user id a line.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Erase everybody once more who was ever erased: after a restored backup.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Forget people in every store and print what was found; exit 1 if something was found again after its removal."""
    if bool(users) + (file is not None) + again != 1:
        raise typer.BadParameter("name users, or --file, or --again")
    if again:
        _tell_again(run(_all_again), as_json)
        return
    ids = list(users or ()) if file is None else _ids_of(file)
    done = run(lambda container: _erase(container, ids))
    data = {"erasures": [_as_json(erasure) for erasure in done]}
    rows = [
        (erasure.erasure_id, erasure.people, name, one.found, one.removed, one.found_again)
        for erasure in done
        for name, one in sorted(erasure.findings.items())
    ]
    output(as_json).table(data, _COLUMNS, rows)
    if any(one.found_again for erasure in done for one in erasure.findings.values()):
        fail("something was found again: the certificates say where")


async def _erase(container: Container, ids: Sequence[str]) -> list[Erasure]:
    from app.bootstrap_erasing import erasure_stores, make_erasures
    from app.domain.erasure import MAX_PEOPLE

    erasures = make_erasures(container, erasure_stores(container))
    done, rest = [], iter(_checked(ids))
    with progress("erasing", None) as bar:
        people = 0
        while chunk := list(islice(rest, MAX_PEOPLE)):
            ordered = await erasures.order(chunk, actor())
            # None: another process has claimed it meanwhile, and finishes it.
            done.append(await erasures.run(ordered.erasure_id) or await erasures.get(ordered.erasure_id))
            people += len(chunk)
            bar.advance_to(people, None, "people")
    return done


async def _all_again(container: Container) -> Again:
    from app.application.erasing.again import erase_again
    from app.bootstrap_erasing import erasure_stores, make_erasures

    stores = erasure_stores(container)
    return await erase_again(make_erasures(container, stores), stores, actor())


def _ids_of(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]


def _checked(ids: Sequence[str]) -> Iterator[str]:
    from app.domain.identifiers import as_id

    kept = []
    for number, one in enumerate(dict.fromkeys(ids), 1):
        known = as_id(one)
        if known is None:
            fail(f"user {number} of the list is not an id; nobody was erased")
        kept.append(known)
    return iter(kept)


def _as_json(erasure: Erasure) -> dict[str, object]:
    return {
        "erasure_id": erasure.erasure_id,
        "people": erasure.people,
        "status": "done" if erasure.is_done else "running",
        "certificate": erasure.certificate,
        "certificate_sha256": erasure.certificate_sha256,
    }


def _tell_again(found: Again, as_json: bool) -> None:
    from dataclasses import asdict

    text = (
        f"{found.graves:,} people were ever erased: {found.erased:,} of them erased again, {found.returned:,} have come"
        f" back and were left alone; {found.lists:,} lists, {found.papers:,} letters and messages and {found.keys:,}"
        " keys of caches removed"
    )
    output(as_json).result(asdict(found), text)
