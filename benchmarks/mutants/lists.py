"""Mutants of lists, signals, invalidation, the guardrail and experiments; each has a fast test."""

from __future__ import annotations

from benchmarks.mutants.patches import Mutant, Patch

MUTANTS = (
    Mutant(
        "the guardrail goes back and forth",
        "M5",
        "tests/unit/serving/test_guardrail.py::test_with_an_earlier_model_left_the_restored_one_still_does_not_fall",
        (
            Patch(
                "app/application/training/model_registry.py",
                "if restored is not None and broken.promoted_at is not None and restored.slot >= broken.promoted_at:",
                "if restored is None and broken.promoted_at is None:",
            ),
        ),
    ),
    Mutant(
        "the ETag ignores why a list is a fallback",
        "S8",
        "tests/unit/serving/test_pages.py::test_the_same_list_for_another_reason_is_another_etag",
        (
            Patch(
                "app/application/recommending/pages.py", "offset, limit, ranked.fallback, len(", "offset, limit, len("
            ),
        ),
    ),
    Mutant(
        "memory is dropped before the generation is bumped",
        "F3",
        "tests/unit/test_list_invalidation.py::test_memory_is_dropped_only_after_the_generation_was_bumped",
        (
            Patch(
                "app/application/invalidation/list_invalidation.py",
                "        is_done = await self._bumps.flush()\n",
                "        self._forget(user_ids)\n        is_done = await self._bumps.flush()\n",
            ),
        ),
    ),
    Mutant(
        "a bump that is under way takes later touches along",
        "F3",
        "tests/unit/test_generation_bumps.py::test_a_user_touched_again_while_the_bump_is_under_way_is_bumped_again",
        (
            Patch(
                "app/application/invalidation/generation_bumps.py",
                "            await self._cache.bump(chunk)\n",
                "            await self._cache.bump(chunk)\n            self._waiting -= chunk\n",
            ),
        ),
    ),
    Mutant(
        "a cancelled bump is forgotten",
        "F3",
        "tests/unit/test_generation_bumps.py::test_a_flush_that_is_cancelled_forgets_nobody",
        (
            Patch(
                "app/application/invalidation/generation_bumps.py",
                "        except BaseException:",
                "        except CacheUnavailableError:",
            ),
        ),
    ),
    Mutant(
        "a refused cache is asked again at once",
        "C2",
        "tests/unit/test_generation_bumps.py::test_what_the_cache_refuses_waits_and_keeps_the_hint_back",
        (
            Patch(
                "app/application/invalidation/generation_bumps.py",
                "            self._not_before = now + self._backoff.next_seconds()\n",
                "            self._backoff.next_seconds()\n",
            ),
        ),
    ),
    Mutant(
        "what a user did outweighs a dislike",
        "N1",
        "tests/unit/test_signals.py::test_what_somebody_says_against_an_item_counts_more_than_what_somebody_did",
        (Patch("app/domain/signals.py", "(item_id, disliked or liked, time)", "(item_id, disliked + liked, time)"),),
    ),
    Mutant(
        "a history is oldest first",
        "N1",
        "tests/unit/test_signals.py::test_a_history_is_newest_first_and_ties_go_by_id",
        (Patch("app/domain/signals.py", "(-entry[2], entry[0])", "(entry[2], entry[0])"),),
    ),
    Mutant(
        "the half-life is e-folding",
        "N1",
        "tests/unit/test_signals.py::test_half_of_the_weight_is_left_after_a_half_life_and_the_future_counts_as_now",
        (Patch("app/domain/signals.py", "np.exp2(-age_days", "np.exp(-age_days"),),
    ),
    Mutant(
        "the future counts more than now",
        "N1",
        "tests/unit/test_signals.py::test_half_of_the_weight_is_left_after_a_half_life_and_the_future_counts_as_now",
        (Patch("app/domain/signals.py", "np.maximum(now - states.time, 0.0)", "(now - states.time)"),),
    ),
    Mutant(
        "repeats count without a cap",
        "N1",
        "tests/unit/test_signals.py::test_repeats_count_by_their_logarithm_up_to_the_cap",
        (
            Patch(
                "app/domain/signals.py",
                "np.minimum(1.0 + np.log(np.maximum(states.count, 1.0)), policy.cap))",
                "1.0 + np.log(np.maximum(states.count, 1.0)))",
            ),
        ),
    ),
    Mutant(
        "two stars speak for an item",
        "N1",
        "tests/unit/test_signals.py::test_each_kind_counts_as_its_policy_says",
        (
            Patch(
                "app/domain/signals.py",
                "_NEUTRAL_RATING, _RATING_SPAN = 2.0, 3.0",
                "_NEUTRAL_RATING, _RATING_SPAN = 1.0, 4.0",
            ),
        ),
    ),
    Mutant(
        "the bounds of a share are too narrow",
        "M5",
        "tests/unit/test_guardrail.py::test_bounds_hold_whenever_somebody_looks",
        (Patch("app/domain/experiment_statistics.py", "careful * (1 - careful) / whole", "careful / whole**2"),),
    ),
    Mutant(
        "a canary goes on although its split is broken",
        "M5",
        "tests/unit/serving/test_canaries.py::test_users_who_are_missing_on_one_side_keep_it_from_going_on",
        (Patch("app/domain/canary.py", "if evidence.is_split_broken:", "if False:"),),
    ),
    Mutant(
        "a canary's candidate answers everybody",
        "M5",
        "tests/unit/serving/test_canaries.py::test_exactly_the_share_gets_the_candidates_lists_cached_or_not",
        (Patch("app/domain/canary.py", "< canary.share * BUCKETS", "< BUCKETS"),),
    ),
    Mutant(
        "the guardrail judges few lists",
        "M5",
        "tests/unit/test_guardrail.py::test_few_lists_prove_nothing",
        (Patch("app/domain/guardrail_policy.py", "whole >= policy.min_lists and", "whole > 0 and"),),
    ),
    Mutant(
        "what the model before did too is held against the next",
        "M5",
        "tests/unit/test_guardrail.py::test_what_was_so_before_is_not_this_models_fault",
        (Patch("app/domain/guardrail_policy.py", "max(most, 2.0 * usual)", "most"),),
    ),
    Mutant(
        "the error of a ratio forgets the lists per user",
        "X1",
        "tests/unit/test_experiment_statistics.py::test_users_with_many_lists_weigh_as_many_lists_in_the_error",
        (
            Patch(
                "app/domain/experiment_statistics.py",
                "(arm.numerator - ratio * arm.denominator) / mean if mean",
                "(arm.numerator - ratio * mean) / mean if mean",
            ),
        ),
    ),
    Mutant(
        "a handful of users is compared",
        "X1",
        "tests/unit/test_experiment_statistics.py::test_nothing_is_said_about_a_handful_of_users",
        (
            Patch(
                "app/domain/experiment_statistics.py",
                "    if min(len(control), len(treatment)) < MIN_USERS:",
                "    if max(len(control), len(treatment)) < MIN_USERS:",
            ),
        ),
    ),
    Mutant(
        "paused experiments assign",
        "X2",
        "tests/unit/test_experiments.py::test_only_a_running_experiment_has_anybody_in_it",
        (
            Patch(
                "app/domain/experiments.py",
                "    if experiment.status is not ExperimentStatus.RUNNING:\n",
                "    if experiment.status is ExperimentStatus.DRAFT:\n",
            ),
        ),
    ),
    Mutant(
        "all layers share their buckets",
        "X2",
        "tests/unit/test_experiments.py::test_layers_know_nothing_of_one_another",
        (Patch("app/domain/experiments.py", "key=_key(salt), digest_size=8", "digest_size=8"),),
    ),
    Mutant(
        "two experiments may share a single bucket",
        "X2",
        "tests/unit/test_experiments.py::test_ranges_that_only_touch_do_not_overlap",
        (
            Patch(
                "app/domain/experiments.py",
                "any(start < end_ and start_ < end for",
                "any(start + 1 < end_ and start_ + 1 < end for",
            ),
        ),
    ),
)
