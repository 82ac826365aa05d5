"""What an import prints: what became of the rows, what was found in the files, what was not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from app.commands.shared import Output, fail, print_table

if TYPE_CHECKING:  # loading the application is the work of the command, not of `encore --help`
    from app.application.transfer.import_summary import ImportSummary
    from app.domain.entities import Interaction, Item, User
    from app.domain.files import Findings

_SHOWN_REASONS = 5
_NUMBERS = ("read", "accepted", "duplicates", "older", "rejected")
_MOST_CELL = 40


def summarise(tallies: Mapping[str, ImportSummary], seconds: float, out: Output, import_id: str | None) -> None:
    """Rows read, accepted, duplicate, older, rejected; columns, times, encodings; seconds and rows a second.

    `import_id` is None for a rehearsal.
    """
    read = sum(tally.read for tally in tallies.values())
    rate = read / seconds if seconds else 0.0
    data: dict[str, object] = {name: _as_data(name, tally) for name, tally in tallies.items()}
    data |= {
        "import_id": import_id,
        "dry_run": import_id is None,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rate),
    }
    rows = [(name, *(f"{getattr(tally, field):,}" for field in _NUMBERS)) for name, tally in tallies.items()]
    out.table(data, ("", *_NUMBERS), rows)
    for name, tally in tallies.items():
        for note in _notes(name, tally):
            out.note(f"{name}: {note}")
    if import_id is None:
        out.note("nothing was written; duplicates and older rows are only found by a real import")
    out.note(f"{read:,} rows in {seconds:.1f} s ({rate:,.0f} rows/s)")
    if "interactions" in tallies and import_id is not None:
        out.note(f"import {import_id}: encore import --undo {import_id} takes its interactions back")


def _as_data(name: str, tally: ImportSummary) -> Mapping[str, object]:
    numbers: dict[str, object] = {field: getattr(tally, field) for field in (*_NUMBERS, "left_out", "undated")}
    return numbers | {
        "reasons": dict(tally.reasons.most_common()),
        "columns_used": tally.used,
        _other_columns(name): list(tally.others),
        "times": _times(tally),
        "files": {file: asdict(findings) for file, findings in tally.files.items()},
    }


def _other_columns(name: str) -> str:
    return "columns_not_used" if name == "interactions" else "columns_kept_as_attributes"


def _notes(name: str, tally: ImportSummary) -> Sequence[str]:
    notes = [f"{count:,} rejected: {reason}" for reason, count in tally.reasons.most_common(_SHOWN_REASONS)]
    more = len(tally.reasons) - _SHOWN_REASONS
    if more > 0:
        notes.append(f"{more} more reasons; --rejects FILE writes down each row with its own")
    if tally.left_out:
        notes.append(f"{tally.left_out:,} rows left out by --where")
    if tally.used:
        notes.append("columns used: " + ", ".join(_use(field, column) for field, column in tally.used.items()))
    if tally.others:
        notes.append(f"{_other_columns(name).replace('_', ' ')}: {', '.join(tally.others)}")
    if (times := _times(tally)) is not None:
        notes.append(f"times: {times}")
    for file, findings in tally.files.items():
        notes.append(f"{file}: {_found(findings)}")
        notes.extend(f"{file}: {note}" for note in findings.notes)
    return notes


def _use(field: str, column: str) -> str:
    return field if field == column else f"{field} = {column}"


def _times(tally: ImportSummary) -> str | None:
    """Where times came from."""
    column = tally.used.get("timestamp") or tally.used.get("updated_at")
    if not tally.undated:
        is_catalog = "user_id" not in tally.used or "item_id" not in tally.used
        return f"column {column}" if column else "when the file was changed" if is_catalog and tally.used else None
    order = "dated by order, from 2000-01-01 on"
    return f"{tally.undated:,} rows of column {column} are empty: {order}" if column else f"no timestamps: {order}"


def _found(findings: Findings) -> str:
    if findings.separator is None:
        return ", ".join(filter(None, (findings.format, findings.encoding)))
    header = "a header" if findings.header else "no header"
    ends = "" if findings.line_end == "LF" else f", lines end with {findings.line_end}"
    return f"{findings.encoding}, separator {findings.separator}, {header}{ends}"


def end(tallies: Mapping[str, ImportSummary], most: float) -> None:
    """Exit 1 if a file gave nothing, or too many of its rows were refused."""
    for name, tally in tallies.items():
        if not tally.taken:
            fail(f"no {name} were taken: {_why_none(tally)}")
        if tally.rejected_share() > most:
            fail(f"{tally.rejected:,} of {tally.read:,} rows of {name} were refused, more than --max-rejects")


def _why_none(tally: ImportSummary) -> str:
    if tally.read == 0:
        return "there is no row"
    return "every row was left out by --where" if tally.left_out == tally.read else "every row was refused"


def preview(entries: Sequence[Interaction | Item | User], out: Output) -> None:
    """The first rows as they would be taken, on stderr with the other remarks."""
    if not entries or out.as_json:
        return
    rows = [{name: value for name, value in asdict(entry).items() if name != "event_id"} for entry in entries]
    names = [name for name in rows[0] if any(row.get(name) not in (None, (), {}) for row in rows)]
    print_table(names, [tuple(_cell(row.get(name)) for name in names) for row in rows])


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        value = " | ".join(map(str, value))
    text = None if value is None else str(value)
    return text if text is None or len(text) <= _MOST_CELL else text[: _MOST_CELL - 1] + "…"
