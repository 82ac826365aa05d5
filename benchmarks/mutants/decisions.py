"""Mutants of decisions: keys, cursors, the gate, experiments, secrets, pseudonyms."""

from __future__ import annotations

from benchmarks.mutants.patches import Mutant, Patch

MUTANTS = (
    Mutant(
        "keys are glued together",
        "S6",
        "tests/unit/test_keys.py::test_two_lists_of_parts_have_one_name_only_if_they_are_equal",
        (Patch("app/domain/keys.py", "return repr(parts)", 'return "|".join(map(str, parts))'),),
    ),
    Mutant(
        "a longer list than an address holds is carried",
        "S13",
        "tests/unit/test_list_cursor.py::test_the_longest_cursor_fits_into_an_address_beside_the_other_parameters",
        (Patch("app/application/recommending/list_cursor.py", "MAX_CARRIED = 480", "MAX_CARRIED = 1_000"),),
    ),
    Mutant(
        "the explored place stays while its item goes",
        "S13",
        "tests/unit/test_list_cursor.py::test_the_place_that_explores_moves_up_with_its_item_and_goes_with_it",
        (
            Patch(
                "app/application/recommending/list_cursor.py",
                "        ranked.slot,\n        ranked.propensity,",
                "        0,\n        ranked.propensity,",
            ),
        ),
    ),
    Mutant(
        "a cursor opens without its signature",
        "A5",
        "tests/unit/api/test_cursors.py::test_no_invented_cursor_opens",
        (
            Patch(
                "app/api/cursors.py",
                "if not hmac.compare_digest(mac, self._mac(binding, raw)):",
                "if not mac and not hmac.compare_digest(mac, self._mac(binding, raw)):",
            ),
        ),
    ),
    Mutant(
        "a cursor opens for another list",
        "A5",
        "tests/unit/api/test_cursors.py::test_another_list_another_caller_or_another_secret_cannot_use_it",
        (Patch("app/api/cursors.py", 'binding.encode() + b"\\0" + raw', "raw"),),
    ),
    Mutant(
        "a candidate as good as popularity is promoted",
        "S3",
        "tests/unit/test_gate.py::test_being_as_good_as_popularity_is_not_enough",
        (
            Patch(
                "app/domain/gate.py",
                "enough = mine > theirs if margin == 0.0",
                "enough = mine >= theirs if margin == 0.0",
            ),
        ),
    ),
    Mutant(
        "a candidate that finds nothing is promoted",
        "S3",
        "tests/unit/test_gate.py::test_finding_nothing_is_not_better_than_finding_nothing",
        (
            Patch(
                "app/domain/gate.py",
                "if mine > 0.0 and enough and sure >= policy.confidence:",
                "if (enough or mine == 0.0) and sure >= 0.0:",
            ),
        ),
    ),
    Mutant(
        "luck is enough to beat popularity",
        "S3",
        "tests/unit/test_gate.py::test_beating_popularity_by_luck_is_not_enough",
        (
            Patch(
                "app/domain/gate.py",
                "if mine > 0.0 and enough and sure >= policy.confidence:",
                "if mine > 0.0 and enough:",
            ),
        ),
    ),
    Mutant(
        "a slice may lose as much as it likes",
        "S3",
        "tests/unit/test_gate.py::test_no_slice_of_enough_users_may_lose_more_than_its_margin",
        (Patch("app/domain/gate.py", "if mine < theirs * (1.0 - policy.slice_margin):", "if mine < 0.0:"),),
    ),
    Mutant(
        "models judged on different users are compared",
        "S3",
        "tests/unit/test_gate.py::test_models_judged_on_different_users_are_not_compared",
        (
            Patch(
                "app/domain/gate.py",
                "    if candidate.users != other.users:\n        return",
                "    if False:\n        return",
            ),
        ),
    ),
    Mutant(
        "an experiment that is stopped keeps its users",
        "X2",
        "tests/unit/test_experiments.py::test_an_experiment_starts_pauses_goes_on_and_stops_for_good",
        (
            Patch(
                "app/domain/experiments.py",
                "buckets=() if is_over else experiment.buckets",
                "buckets=experiment.buckets",
            ),
        ),
    ),
    Mutant(
        "a running experiment may shrink",
        "X2",
        "tests/unit/test_experiments.py::test_a_layer_that_is_full_says_so_and_a_share_never_shrinks",
        (Patch("app/domain/experiments.py", "    if wanted < 0:\n        raise", "    if False:\n        raise"),),
    ),
    Mutant(
        "salt and user run into one another",
        "X2",
        "tests/unit/test_experiments.py::test_salts_and_ids_never_run_into_one_another",
        (
            Patch(
                "app/domain/experiments.py",
                'blake2b(user_id.encode("utf-8", "surrogatepass"), key=_key(salt), digest_size=8)',
                'blake2b((salt + user_id).encode("utf-8", "surrogatepass"), digest_size=8)',
            ),
        ),
    ),
    Mutant(
        "the arms of an experiment need not add up",
        "X2",
        "tests/unit/test_experiments.py::test_what_cannot_be_run_is_refused_by_field",
        (
            Patch(
                "app/domain/experiments.py",
                "if abs(sum(arm.share for arm in arms) - 1) > 1e-9:",
                "if sum(arm.share for arm in arms) > 2:",
            ),
        ),
    ),
    Mutant(
        "whoever looks often is fooled",
        "X1",
        "tests/unit/test_experiment_statistics.py::test_the_p_value_that_holds_at_any_time_is_the_one_worked_out_by_hand",
        (
            Patch(
                "app/domain/experiment_statistics.py",
                "min(1.0, sqrt(scaled + 1) * exp(exponent))",
                "min(1.0, exp(exponent))",
            ),
        ),
    ),
    Mutant(
        "CUPED moves the effect",
        "X1",
        "tests/unit/test_experiment_statistics.py::test_cuped_cuts_the_variance_by_the_squared_correlation_and_does_not_move_the_effect",
        (
            Patch(
                "app/domain/experiment_statistics.py",
                "values - theta * (arm.before - mean_before)",
                "values - theta * arm.before * 2",
            ),
        ),
    ),
    Mutant(
        "several arms are not corrected",
        "X1",
        "tests/unit/test_experiment_statistics.py::test_several_arms_are_corrected_by_holm",
        (Patch("app/domain/experiment_statistics.py", "(len(p_values) - rank) * p_values[place]", "p_values[place]"),),
    ),
    Mutant(
        "a secret file keeps its line end",
        "K1",
        "tests/unit/test_config.py::test_a_secret_may_come_from_a_file_as_docker_and_kubernetes_mount_it",
        (Patch("app/config_names.py", 'content.decode().rstrip("\\r\\n")', "content.decode()"),),
    ),
    Mutant(
        "a secret may be given twice",
        "K1",
        "tests/unit/test_config.py::test_a_secret_given_twice_is_refused",
        (Patch("app/config_names.py", "    if is_given_twice:", "    if False:"),),
    ),
    Mutant(
        "pseudonyms need no secret",
        "G2",
        "tests/contract/test_experiment_store.py::test_a_pseudonym_says_nothing_without_the_secret_and_a_share_is_a_share_of_users",
        (Patch("app/domain/request_log.py", "key=key, digest_size=16", "digest_size=16"),),
    ),
    Mutant(
        "a user who is not logged is logged now and then",
        "G2",
        "tests/contract/test_experiment_store.py::test_a_pseudonym_says_nothing_without_the_secret_and_a_share_is_a_share_of_users",
        (
            Patch(
                "app/domain/request_log.py",
                "% SHARE_STEPS < share * SHARE_STEPS",
                "% SHARE_STEPS <= share * SHARE_STEPS",
            ),
        ),
    ),
)
