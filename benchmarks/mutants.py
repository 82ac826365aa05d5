"""`make mutants`: the event code broken on purpose, one way after the other; each must be caught by the named test.

A test that never fails proves nothing. Every mutant is a patch of a copied tree; a patch that no longer applies is an
error too, so that this list follows the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("app", "tests", "benchmarks", "pyproject.toml")
TIMEOUT_SECONDS = 180.0
CONSUMING, RELAY = "tests/integration/test_consuming.py", "tests/integration/test_outbox_relay.py"


@dataclass(frozen=True, slots=True)
class Patch:
    """Replace `old`, which must occur exactly once, by `new`."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to be wrong, the promise it breaks, and the test that must notice."""

    name: str
    promise: str
    test: str
    patches: Sequence[Patch]


MUTANTS = (
    Mutant(
        "auto-commit: Kafka's offset is left before the write and believed afterwards",
        "E2",
        f"{CONSUMING}::test_a_consumer_that_dies_while_the_database_is_away_loses_nothing",
        (
            Patch(
                "app/application/ingestion/ingestion.py",
                "        return Start(facts.first_offset, stored=0, bump_below=facts.first_offset)\n",
                "        begin = facts.committed or facts.first_offset\n"
                "        return Start(begin, stored=0, bump_below=begin)\n",
            ),
            Patch(
                "app/application/ingestion/consuming.py",
                "        # in a thread: heartbeats",
                "        await self._source.commit({place: batch[-1].offset + 1 for place, batch in records.items()})\n"
                "        # in a thread: heartbeats",
            ),
        ),
    ),
    Mutant(
        "every delivered row is counted, not the inserted ones",
        "E1",
        f"{CONSUMING}::test_records_that_come_again_have_one_effect",
        (
            Patch(
                "app/infrastructure/database/ingest.py",
                "            await connection.execute(self._sql.drop_set_aside)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "no fence on resume",
        "E11",
        f"{CONSUMING}::test_a_zombie_that_wakes_up_in_its_transaction_is_fenced",
        (
            Patch(
                "app/infrastructure/database/ingest.py",
                "where(here, consumer_offsets.c.next_offset == before)",
                "where(here)",
            ),
        ),
    ),
    Mutant(
        "identities are forgotten after a while",
        "E9",
        f"{CONSUMING}::test_a_log_that_is_read_again_from_its_beginning_changes_nothing",
        (
            Patch(
                "app/infrastructure/database/ingest.py",
                "        claimed = (await",
                "        await connection.execute(sa.text('DELETE FROM event_ids'))\n        claimed = (await",
            ),
        ),
    ),
    Mutant(
        "an outgoing event is marked before it is published",
        "E8",
        f"{RELAY}::test_a_batch_the_broker_did_not_take_is_kept_and_goes_out_before_the_next",
        (
            Patch(
                "app/application/outgoing/outbox.py",
                "        refused = await self._publish(messages)\n",
                "        await self._outbox.published([_sequence(message) for message in messages], self._clock())\n"
                "        self._held = ()\n"
                "        refused = await self._publish(messages)\n",
            ),
        ),
    ),
    Mutant(
        "outgoing events are written outside the transaction that makes them true",
        "E8",
        f"{RELAY}::test_events_of_rolled_back_work_never_go_out",
        (
            Patch(
                "app/infrastructure/database/ingest.py",
                "        async with self._connections.write() as connection:\n",
                "        async with self._connections.write() as connection:\n"
                "            await insert_messages(connection, batch.messages)\n"
                "        async with self._connections.write() as connection:\n",
            ),
        ),
    ),
    Mutant(
        "after a crash only new records renew lists",
        "§8",
        f"{CONSUMING}::test_a_crash_between_transaction_and_bump_leaves_no_stale_list",
        (
            Patch(
                "app/application/ingestion/ingestion.py",
                "stored.next_offset if facts.committed is None else min(facts.committed, stored.next_offset)",
                "stored.next_offset",
            ),
        ),
    ),
    Mutant(
        "the hint is left although lists still wait to be renewed",
        "§8",
        f"{CONSUMING}::test_bumps_that_the_cache_did_not_take_are_tried_again",
        (Patch("app/application/ingestion/consuming.py", "        elif is_clean:\n", "        else:\n"),),
    ),
    Mutant(
        "a database outage makes dead letters",
        "E2",
        f"{CONSUMING}::test_a_database_that_is_away_costs_time_and_nothing_else",
        (
            Patch(
                "app/application/ingestion/batch_writing.py",
                "                await self._wait(backoff)\n",
                "                await self._cut(pieces)\n                return\n",
            ),
        ),
    ),
    Mutant(
        "poison is swallowed without a limit",
        "E7",
        f"{CONSUMING}::test_a_poisoned_partition_is_set_aside_and_the_others_go_on",
        (
            Patch(
                "app/application/ingestion/ingestion.py",
                "    if poison.consecutive > policy.max_consecutive:\n",
                "    if poison.consecutive < 0:\n",
            ),
            Patch(
                "app/application/ingestion/ingestion.py",
                "    if poison.seen >= policy.min_seen and",
                "    if poison.seen < 0 and",
            ),
        ),
    ),
    Mutant(
        "a batch that fails is given up whole",
        "V22",
        f"{CONSUMING}::test_a_record_the_database_chokes_on_is_cut_out_of_its_batch",
        (
            Patch(
                "app/application/ingestion/batch_writing.py",
                "        if len(pieces) == 1 and len(pieces[0]) == 1:\n",
                "        if len(pieces) == 1:\n",
            ),
        ),
    ),
    Mutant(
        "the offset of another incarnation of a topic is believed",
        "V23",
        f"{CONSUMING}::test_a_topic_that_was_made_anew_is_read_from_its_beginning",
        (
            Patch(
                "app/application/ingestion/ingestion.py",
                "    if stored.epoch != facts.epoch or stored.next_offset > facts.end_offset:\n",
                "    if stored.next_offset > facts.end_offset:\n",
            ),
        ),
    ),
    Mutant(
        "records that retention took are skipped in silence",
        "V23",
        f"{CONSUMING}::test_records_that_retention_took_are_reported_and_never_skipped_in_silence",
        (
            Patch(
                "app/application/ingestion/ingestion.py",
                "        return Start(facts.first_offset, stored.next_offset, facts.first_offset, gap)\n    hint =",
                "        return Start(facts.first_offset, stored.next_offset, facts.first_offset)\n    hint =",
            ),
        ),
    ),
    Mutant(
        "the second of two different events with one id wins",
        "V8",
        f"{CONSUMING}::test_the_same_id_with_other_content_keeps_the_first_and_a_dead_letter",
        (
            Patch(
                "app/infrastructure/database/ingest.py",
                "Outcome.DUPLICATE if same else Outcome.CONFLICT",
                "Outcome.DUPLICATE",
            ),
        ),
    ),
)


def main() -> int:
    """Exit 0 if the tests pass on the code as it is, and each mutant makes its test fail."""
    with tempfile.TemporaryDirectory(prefix="encore-mutants-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        if run_tests(tree, sorted({mutant.test for mutant in MUTANTS})) != 0:
            print("the tests fail without any mutant: nothing can be shown")
            return 1
        survivors = [mutant for mutant in MUTANTS if not is_caught(mutant, tree)]
    print(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} mutants caught")
    return 1 if survivors else 0


def is_caught(mutant: Mutant, tree: Path) -> bool:
    """Apply the patches, run the test, take the patches back."""
    originals = {patch.path: (tree / patch.path).read_text() for patch in mutant.patches}
    try:
        for patch in mutant.patches:
            apply(patch, tree / patch.path)
        is_red = run_tests(tree, [mutant.test]) == 1
    finally:
        for path, text in originals.items():
            (tree / path).write_text(text)
    name = mutant.test.partition("::")[2]
    print(f"{'caught  ' if is_red else 'SURVIVED'}  {mutant.promise:4} {mutant.name}  [{name}]", flush=True)
    return is_red


def apply(patch: Patch, path: Path) -> None:
    """Raises ValueError when the code has moved on."""
    text = path.read_text()
    if text.count(patch.old) != 1:
        raise ValueError(f"{patch.path}: the patch matches {text.count(patch.old)} places, not one:\n{patch.old}")
    path.write_text(text.replace(patch.old, patch.new))


def copy_tree(tree: Path) -> None:
    """The code and its tests, without what they left behind."""
    tree.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)


def run_tests(tree: Path, tests: Sequence[str]) -> int:
    """pytest's exit code: 0 all passed, 1 some failed. A test that hangs has failed."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return 1
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
