"""Where it is tested that the systems that this project holds work, system by system.

Each row is a system of the table of acceptance; the tests stand beside what they test. This file
holds their names together, and fails where one of them is gone.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
QUALITY = "ranker/quality/"

ROWS: dict[str, tuple[str, ...]] = {
    "main score and NTIRE protocol": (
        "metrics/test_correlation.py::test_main_score_is_two_for_the_truth_itself",
        "metrics/test_correlation.py::test_main_score_of_a_thousand_opinions_minds_neither_unit_nor_sign",
        "metrics/test_correlation.py::test_the_fit_sees_what_a_straight_line_does_not",
        "metrics/test_correlation.py::test_srocc_and_plcc_of_a_thousand_vectors_against_scipy",
        "metrics/test_correlation.py::test_main_score_of_noise_at_the_size_of_the_challenge",
        "metrics/test_protocol.py::test_table_1_adds_up",
    ),
    "figure 4": (
        "metrics/test_protocol.py::test_algorithms_are_represented_by_their_means",
        "metrics/test_protocol.py::test_the_order_of_lines_does_not_matter",
    ),
    "PIPAL reader": (
        "rankdata/test_judged_folder.py::test_pipal_is_read_as_it_is_unpacked",
        "rankdata/test_judged_folder.py::test_the_references_of_two_splits_are_disjoint",
        "rankdata/test_judged_folder.py::test_what_contradicts_itself_is_named",
    ),
    "Elo and Bradley-Terry opinions": (
        "metrics/test_elo.py::test_the_example_of_the_field",
        "metrics/test_elo.py::test_the_sum_never_changes",
        "metrics/test_elo.py::test_votes_order_items_as_they_are",
        "metrics/test_elo.py::test_new_items_join_without_upsetting_the_old",
        "metrics/test_elo.py::test_items_without_a_new_vote_keep_their_score",
        "metrics/test_elo.py::test_extending_conserves_the_sum_and_leaves_the_others",
        "rankdata/test_study_ratings.py::test_a_dataset_of_an_extended_study",
        "metrics/test_bradley_terry.py::test_it_orders_items_better_than_the_order_of_votes_lets_elo",
    ),
    "baselines LPIPS, DISTS, PieAPP, SSIM, FSIM": (
        "metrics/test_full_reference.py::test_equal_images_score_best",
        "metrics/test_full_reference.py::test_image_and_reference_may_be_exchanged_except_for_vif",
        "metrics/test_full_reference.py::test_more_noise_is_worse",
        "metrics/test_backbones.py::test_parameters_have_the_names_and_number_of_torchvisions",
        "metrics/test_backbones.py::test_loading_with_or_without_the_classifier",
        "metrics/test_backbones.py::test_published_weights_fit",
        "metrics/test_lpips.py::test_random_weights_against_another_computation",
        "metrics/test_dists.py::test_random_weights_against_another_computation",
        "metrics/test_dists.py::test_equal_images_are_zero_exactly_also_where_they_are_flat",
        "metrics/test_pieapp.py::test_random_weights_against_another_computation",
        "metrics/test_pieapp.py::test_equal_images_have_one_error",
        "metrics/test_pieapp.py::test_the_published_network_has_its_parameters",
    ),
    "Huawei losses": (
        f"{QUALITY}test_objective.py::test_huawei_losses_are_0_for_perfect_scores",
        f"{QUALITY}test_objective.py::test_losses_have_exact_gradients",
        f"{QUALITY}test_objective.py::test_huawei_pairs_cross_references",
        f"{QUALITY}test_objective.py::test_huawei_losses_teach_three_layers_the_fixture",
    ),
    "MACS rank loss and SoDeep": (
        f"{QUALITY}test_objective.py::test_macs_soft_rank_is_exact_as_tau_goes_to_0",
        f"{QUALITY}test_objective.py::test_macs_rank_loss_minds_neither_unit_nor_offset",
        f"{QUALITY}test_parts.py::test_macs_sodeep_learned_sorter",
    ),
    "RADN and WResNet": (
        f"{QUALITY}test_parts.py::test_radn_zero_offset_deformable_convolution_is_conv2d",
        f"{QUALITY}test_parts.py::test_radn_non_local_block_is_the_identity_at_init",
        f"{QUALITY}test_parts.py::test_wresnet_patch_order_leaves_the_score_unchanged",
        f"{QUALITY}test_models.py::test_parameter_counts_are_the_published_ones",
        f"{QUALITY}test_train.py::test_radn_wresnet_and_macs_reach_srcc_on_unseen_references",
    ),
    "IQT": (
        f"{QUALITY}test_iqt.py::test_iqt_token_and_parameter_counts",
        f"{QUALITY}test_iqt.py::test_iqt_identical_images_are_constant_in_the_encoder_alone",
        f"{QUALITY}test_iqt.py::test_iqt_learns_the_fixture",
    ),
    "L2PIPS, IQMA and Yahaha": (
        f"{QUALITY}test_frequency_attention.py::test_fca_with_the_lowest_frequency_equals_se",
        f"{QUALITY}test_l2pips.py::test_channel_shuffle_pairs_by_index",
        f"{QUALITY}test_l2pips.py::test_l2pips_builds_scores_and_learns_the_fixture",
        f"{QUALITY}test_iqma.py::test_iqma_builds_scores_and_learns_the_fixture",
        f"{QUALITY}test_yahaha.py::test_relative_distance_loss_is_invariant_to_a_constant",
        f"{QUALITY}test_yahaha.py::test_yahaha_builds_scores_and_learns_the_fixture",
    ),
    "SI Analytics": (
        f"{QUALITY}test_parts.py::test_si_analytics_map_values",
        f"{QUALITY}test_parts.py::test_si_analytics_with_constant_sensitivity_is_monotone_in_mse",
        f"{QUALITY}test_train.py::test_si_analytics_beats_the_pixels_on_unseen_references",
    ),
    "debut.kele and EGB": (
        f"{QUALITY}test_boosting.py::test_no_reference_is_on_both_sides_of_a_fold",
        f"{QUALITY}test_fusion.py::test_fusion_beats_the_best_single_metric",
        f"{QUALITY}test_fusion.py::test_fusion_is_deterministic_by_seed",
        f"{QUALITY}test_egb.py::test_egb_learns_the_fixture",
        f"{QUALITY}test_egb.py::test_egb_is_deterministic_by_seed",
    ),
    "RankSRGAN's quality plug-in": (
        f"{QUALITY}test_steering.py::"
        "test_quality_plug_in_one_step_of_the_generator_moves_sr_towards_better",
        f"{QUALITY}test_steering.py::"
        "test_quality_plug_in_one_step_moves_sr_towards_hr_whatever_the_direction",
        f"{QUALITY}test_steering.py::test_quality_plug_in_receives_sr_and_hr_in_this_order",
        "srgan/losses/test_steering.py::test_one_step_of_a_training_moves_sr_towards_better",
        "srgan/losses/test_steering.py::"
        "test_the_rank_loss_refuses_who_wants_the_original_and_the_scorer_loss_gives_it",
    ),
    "RankSRGAN's Ranker": (
        "rankdata/test_labels.py::test_order_is_the_place_in_the_list",
        "ranker/test_train.py::test_learns_the_order_and_not_the_position",
        f"{QUALITY}test_steering.py::test_a_rankers_score_up_is_worse_for_its_loss",
    ),
    "Cria-CL and EDL": (
        "srgan/test_acceptance.py::test_cria_cl_edl_shapes_parameters_mask_and_sum",
        "srgan/test_acceptance.py::test_cria_cl_edl_sixty_steps_lower_its_loss_by_a_fifth",
        "srgan/test_acceptance.py::test_cria_cl_edl_contrasts_of_weight_0_leave_it_bitwise",
        "srgan/test_acceptance.py::test_cria_cl_edl_criteria_leave_the_other_s_branch_alone",
        "srgan/test_acceptance.py::test_cria_cl_edl_ratio_is_finite_where_the_pixel_loss_is_0",
    ),
    "RealSR-style noise and degradation": (
        "srgan/test_acceptance.py::test_real_scene_noise_and_degradation",
    ),
    "caculate_metric": (
        "metrics/test_compare.py::test_caculate_metric",
        "metrics/test_compare.py::test_caculate_metric_of_an_image_that_is_one_step_off",
        "metrics/test_compare.py::test_caculate_metric_does_not_see_the_border_but_lpips_does",
    ),
    "ESRGAN base": ("srgan/test_acceptance.py::test_esrgan_base",),
}


@pytest.mark.parametrize("row", ROWS)
def test_every_test_of_a_row_is_there(row: str) -> None:
    for name in ROWS[row]:
        path, _, function = name.partition("::")
        assert function in _functions(TESTS / path), name


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
