"""Mutants of the way of events, in and out."""

from __future__ import annotations

from benchmarks.mutants.patches import Mutant, Patch

CONSUMING, RELAY = "tests/integration/test_stream_consumer.py", "tests/integration/test_outbox_relay.py"

MUTANTS = (
    Mutant(
        "auto-commit: Kafka's offset is left before the write and believed afterwards",
        "E2",
        f"{CONSUMING}::test_a_consumer_that_dies_while_the_database_is_away_loses_nothing",
        (
            Patch(
                "app/application/ingestion/batch_planning.py",
                "        return ReadStart(facts.first_offset, stored=0, bump_below=facts.first_offset)\n",
                "        begin = facts.committed or facts.first_offset\n"
                "        return ReadStart(begin, stored=0, bump_below=begin)\n",
            ),
            Patch(
                "app/application/ingestion/stream_consumer.py",
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
                "app/application/outgoing/outbox_relay.py",
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
                "app/application/ingestion/batch_planning.py",
                "stored.next_offset if facts.committed is None else min(facts.committed, stored.next_offset)",
                "stored.next_offset",
            ),
        ),
    ),
    Mutant(
        "the hint is left although lists still wait to be renewed",
        "§8",
        f"{CONSUMING}::test_bumps_that_the_cache_did_not_take_are_tried_again",
        (Patch("app/application/ingestion/stream_consumer.py", "        elif is_clean:\n", "        else:\n"),),
    ),
    Mutant(
        "a database outage makes dead letters",
        "E2",
        f"{CONSUMING}::test_a_database_that_is_away_costs_time_and_nothing_else",
        (
            Patch(
                "app/application/ingestion/batch_writer.py",
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
                "app/application/ingestion/batch_planning.py",
                "    if poison.consecutive > policy.max_consecutive:\n",
                "    if poison.consecutive < 0:\n",
            ),
            Patch(
                "app/application/ingestion/batch_planning.py",
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
                "app/application/ingestion/batch_writer.py",
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
                "app/application/ingestion/batch_planning.py",
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
                "app/application/ingestion/batch_planning.py",
                "        return ReadStart(facts.first_offset, stored.next_offset, facts.first_offset, gap)\n    hint =",
                "        return ReadStart(facts.first_offset, stored.next_offset, facts.first_offset)\n    hint =",
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
                "IngestOutcome.DUPLICATE if same else IngestOutcome.CONFLICT",
                "IngestOutcome.DUPLICATE",
            ),
        ),
    ),
)
