"""`encore audit`: what administrators did, whether the record is whole, and the record as a file."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.shared import JsonFlag, fail, output, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.application.audit_trail import AuditTrail, Verdict
    from app.bootstrap import Container
    from app.domain.audit import AuditRow

_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})", re.ASCII)
BATCH = 5_000


def register(app: typer.Typer) -> None:
    """Add `encore audit …`."""
    audit = typer.Typer(no_args_is_help=True, help="List, verify and export the record of administrators' acts.")
    app.add_typer(audit, name="audit")
    audit.command("list")(list_rows)
    audit.command("verify")(verify)
    audit.command("export")(export)


def list_rows(limit: Annotated[int, typer.Option(min=1, max=1_000)] = 20, as_json: JsonFlag = False) -> None:
    """The newest rows, newest first."""
    found = run(lambda container: container.database.audit.newest(limit))
    columns = ("row", "at", "actor", "act", "target", "outcome")
    lines = [
        (
            row.sequence,
            row.entry.at.isoformat(timespec="seconds"),
            row.entry.actor,
            row.entry.act,
            row.entry.target,
            row.entry.outcome.value,
        )
        for row in found
    ]
    output(as_json).table({"rows": [as_json_object(row) for row in found]}, columns, lines)


def verify(
    head: Annotated[
        str | None, typer.Option(help="The head that an earlier run printed: it must still be there.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Walk the chain and name every row that was changed, removed or moved; exit 1 if there is one."""
    noted = None
    if head is not None:
        match = _HEAD.fullmatch(head)
        if match is None:
            raise typer.BadParameter("give it as `audit verify` prints it, SEQUENCE:HASH", param_hint="--head")
        noted = int(match[1]), match[2]

    async def work(container: Container) -> Verdict:
        from app.application.audit_trail import verify_chain

        return await verify_chain(container.database.audit, noted)

    found = run(work)
    data = {"rows": found.rows, "problems": list(found.problems), "head": found.head}
    text = "\n".join((*found.problems, f"{found.rows:,} rows; head {found.head or 'none'}"))
    output(as_json).result(data, text)
    if found.problems:
        fail("the audit log is not whole")


def export() -> None:
    """Every row as one JSON object a line, oldest first, on stdout."""

    async def work(container: Container) -> None:
        after = 0
        while rows := await container.database.audit.read(after, BATCH):
            for row in rows:
                sys.stdout.write(json.dumps(as_json_object(row), ensure_ascii=False) + "\n")
            after = rows[-1].sequence

    run(work)


def trail_of(container: Container) -> AuditTrail:
    """The trail of whoever runs this command."""
    from app.application.audit_trail import AuditTrail

    return AuditTrail(container.database.audit, container.clock, actor())


def actor() -> str:
    """Who runs this command: the account of the operating system."""
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        import os

        name = str(os.getuid())
    return f"cli:{name}"


def as_json_object(row: AuditRow) -> dict[str, object]:
    """The row with all that its hash covers."""
    entry = row.entry
    return {
        "sequence": row.sequence,
        "previous": row.previous,
        "hash": row.hash,
        "at": entry.at.isoformat(timespec="microseconds"),
        "act_id": entry.act_id,
        "actor": entry.actor,
        "act": entry.act,
        "target": entry.target,
        "outcome": entry.outcome.value,
        "before": entry.before,
        "after": entry.after,
    }
