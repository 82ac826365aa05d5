"""Mutants of everything else: who may do what, deadlines, trainings, artifacts."""

from __future__ import annotations

from benchmarks.mutants.patches import Mutant, Patch

MUTANTS = (
    Mutant(
        "the token says how it is checked",
        "A4",
        "tests/unit/api/test_tokens.py::test_a_public_key_is_never_a_secret",
        (
            Patch(
                "app/api/tokens.py",
                "    if key is None or token.algorithm != key.algorithm:\n",
                "    if key is None:\n",
            ),
            Patch(
                "app/api/tokens.py",
                "algorithms=[key.algorithm]",
                "algorithms=[token.algorithm]",
            ),
        ),
    ),
    Mutant(
        "the user id of the path is believed",
        "A2",
        "tests/integration/api/test_policies.py::test_people_reach_their_own_user_id_and_services_and_admins_any",
        (
            Patch(
                "app/api/security.py",
                "    if principal.subject != user_id and not principal.acts_for_anyone:\n",
                "    if not principal.subject:\n",
            ),
        ),
    ),
    Mutant(
        "a body is read without a cap",
        "A5",
        "tests/integration/api/test_hostile_requests.py::test_a_body_without_a_length_is_cut_at_the_cap",
        (
            Patch(
                "app/api/request_context.py",
                "        self._max_body_bytes = max_body_bytes\n",
                "        self._max_body_bytes = max_body_bytes << 40\n",
            ),
        ),
    ),
    Mutant(
        "liveness asks the dependencies",
        "O6",
        "tests/integration/api/test_operations.py::test_without_the_database_a_fresh_process_lives_and_is_not_ready",
        (
            Patch(
                "app/api/health.py",
                "async def is_alive() -> Alive:\n",
                "async def is_alive(uses: ServicesDep, call: ContextDep) -> Response:\n",
            ),
            Patch(
                "app/api/health.py",
                "    return Alive()\n",
                "    return await _health(uses, call)\n",
            ),
        ),
    ),
    Mutant(
        "rate limits are counted in keys that never expire",
        "C6",
        "tests/integration/test_redis_cache.py::test_no_key_lives_for_ever",
        (
            Patch(
                "app/infrastructure/cache/redis_scripts.py",
                "    if allowed == 1 then redis.call('PEXPIRE', key, {WINDOW_MS}) end\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a silent Redis is waited for as long as the library likes",
        "C2",
        "tests/integration/test_redis_cache.py::test_a_frozen_server_costs_one_timeout_until_the_breaker_opens",
        (
            Patch(
                "app/infrastructure/cache/redis_connection.py",
                "        left = sent + self._timeout - self._loop.time()\n",
                "        left = sent + self._timeout * 100 - self._loop.time()\n",
            ),
        ),
    ),
    Mutant(
        "the deadline of a statement is not the driver's",
        "D1",
        "tests/integration/test_database_away.py::test_a_frozen_server_costs_a_lookup_one_second_and_then_nothing",
        (
            Patch(
                "app/infrastructure/database/dialects/postgresql.py",
                '            "command_timeout": timeout_seconds + patience_seconds,\n',
                "",
            ),
        ),
    ),
    Mutant(
        "a training starts whoever has started it before",
        "T1",
        "tests/integration/test_training.py::test_two_rings_for_one_training_train_once",
        (
            Patch(
                "app/infrastructure/database/trainings.py",
                "== training_id) & (trainings.c.status == TrainingStatus.QUEUED)\n",
                "== training_id)\n",
            ),
        ),
    ),
    Mutant(
        "the manifest is written before the files it names",
        "M4",
        "tests/unit/test_artifacts.py::TestRoundTrip::test_the_manifest_is_written_last",
        (
            Patch(
                "app/application/artifacts/model_artifacts.py",
                "    return {**{fmt.FILES[role]: data",
                '    return {fmt.MANIFEST: b"", **{fmt.FILES[role]: data',
            ),
        ),
    ),
    Mutant(
        "a part is parsed without its checksum",
        "M1",
        "tests/unit/test_artifacts.py::TestDamage::test_every_mutation_is_refused_before_parsing_and_counted",
        (
            Patch(
                "app/application/artifacts/model_artifacts.py",
                "        fmt.check_part(part, parts[role])\n",
                "        assert part, role\n",
            ),
        ),
    ),
    Mutant(
        "artifacts may hold pickles",
        "M2",
        "tests/unit/test_artifacts.py::TestDamage::test_no_module_can_load_code_from_a_file",
        (
            Patch(
                "app/application/artifacts/artifact_format.py",
                "from __future__ import annotations\n",
                "from __future__ import annotations\n\nimport pickle\n",
            ),
        ),
    ),
)
