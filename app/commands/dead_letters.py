"""`encore dead-letters`: what could not be taken in, and taking it in after all."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.audit import trail_of
from app.commands.shared import JsonFlag, output, run
from app.domain.exceptions import NotFoundError

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from collections.abc import Sequence

    from app.application.ingestion.dead_letter_replay import Replay
    from app.bootstrap import Container
    from app.domain.entities import DeadLetter

ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only those refused for this reason.")]
IdsArgument = Annotated[list[int] | None, typer.Argument(help="Ids of dead letters.")]


def register(app: typer.Typer) -> None:
    """Add `encore dead-letters …`."""
    letters = typer.Typer(no_args_is_help=True, help="List, show and replay what could not be taken in.")
    app.add_typer(letters, name="dead-letters")
    letters.command("list")(list_letters)
    letters.command("show")(show_letter)
    letters.command("replay")(replay_letters)


def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 20,
    after: Annotated[int, typer.Option(min=0, help="Only ids after this one.")] = 0,
    reason: ReasonOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Dead letters in the order they came."""
    found = run(lambda container: container.database.dead_letters.list(limit, after, reason))
    columns = ("id", "received", "source", "place", "reason", "bytes kept", "replayed")
    output(as_json).table({"dead_letters": [as_json_object(letter) for letter in found]}, columns, _lines(found))


def show_letter(
    letter_id: Annotated[int, typer.Argument(min=1, help="Id of the dead letter.")], as_json: JsonFlag = False
) -> None:
    """One dead letter with what is kept of its payload."""

    async def work(container: Container) -> DeadLetter:
        letter = await container.database.dead_letters.get(letter_id)
        if letter is None:
            raise NotFoundError("dead letter")
        return letter

    shown = as_json_object(run(work))
    output(as_json).result(shown, "\n".join(f"{name:12} {value}" for name, value in shown.items()))


def replay_letters(
    ids: IdsArgument = None,
    replay_all: Annotated[bool, typer.Option("--all", help="All that have not been replayed.")] = False,
    reason: ReasonOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send dead letters through the door once more; what is acceptable now goes in, once."""

    if bool(ids) == (replay_all or reason is not None):
        raise typer.BadParameter("name ids, or --all, or --reason")

    async def work(container: Container) -> Replay:
        from app.application.ingestion.dead_letter_replay import DeadLetterReplay

        max_age = timedelta(days=container.settings.event_max_age_days)
        replay = DeadLetterReplay(container.database, container.cache, container.clock, max_age)
        target = " ".join(map(str, ids)) if ids else f"reason {reason}" if reason else "all"
        async with trail_of(container).act("dead_letters.replay", target) as act:
            done = await (replay.run_ids(ids) if ids else replay.run_all(reason))
            act.after = {"replayed": list(done.replayed), "refused": dict(done.refused)}
        return done

    done = run(work)
    refused = ", ".join(f"{number:,} {why}" for why, number in sorted(done.refused.items()))
    data = {"replayed": len(done.replayed), "refused": dict(done.refused), "stale_lists": len(done.stale_users)}
    output(as_json).result(
        data, f"{len(done.replayed):,} replayed" + (f"; still refused: {refused}" if refused else "")
    )


def as_json_object(letter: DeadLetter) -> dict[str, object]:
    """A letter as JSON shows it; bytes that are no text are shown as escapes."""
    return {
        "id": letter.dead_letter_id,
        "received_at": letter.received_at.isoformat(),
        "source": letter.source,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
        "replayed_at": letter.replayed_at.isoformat() if letter.replayed_at else None,
        "sha256": letter.sha256,
        "payload": letter.payload.decode("utf-8", "backslashreplace"),
    }


def _lines(letters: Sequence[DeadLetter]) -> list[tuple[object, ...]]:
    return [
        (
            letter.dead_letter_id,
            letter.received_at.isoformat(timespec="seconds"),
            letter.source,
            f"{letter.topic}/{letter.partition}@{letter.offset}" if letter.topic else None,
            letter.reason,
            len(letter.payload),
            letter.replayed_at.isoformat(timespec="seconds") if letter.replayed_at else None,
        )
        for letter in letters
    ]
