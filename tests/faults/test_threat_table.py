"""The threat table, row by row, and the tests here that show what becomes of each.

row  threat                                             row  threat
1    decompression bomb                                 14   metadata leaks (GPS)
2    text and metadata bombs, frame floods              15   symbolic links: loops, and out of the source
3    hanging, dying, memory-eating decoders; EPS        16   FIFOs, sockets, devices
4    truncated and corrupt files                        17   unreadable folders and files
5    bit rot after the build                            18   odd names: newline, escape, not UTF-8, HTML, =cmd
6    misnamed files                                     19   case and Unicode collisions, long names
7    CMYK, YCCK                                         20   traversal by recipe, list or label
8    grey with alpha, RGBA, P with tRNS                 22   full disk
9    16-bit, I, F, LAB, 1-bit                           23   kill -9 at any time
10   animated files                                     24   publishing onto an existing folder
11   EXIF orientation                                   25   two builders, one output
12   broken EXIF                                        26   a source that changes during the build
13   colour profiles                                    27   output inside the source, or the other way round
28   code in a checkpoint                               32   a loss that is no number
29   a hostile or newer manifest                        33   weights that differ from run to run
30   a worker that dies, a full /dev/shm                34   Ctrl-C, SIGTERM
31   an image that went bad after the manifest          35   decoder noise

Row 21 (archives) is no matter of imagekit, which reads folders. Tests of other rooms are named by their folder.
"""

import ast
from pathlib import Path

HERE = Path(__file__).parent

TESTS = {
    1: [
        "test_hostile_images.py::test_an_unusable_file_is_named_with_its_reason_and_leaves_nothing",
        "test_decoders.py::test_a_picture_that_needs_more_memory_than_a_worker_may_have_is_a_bomb",
    ],
    2: [
        "test_hostile_images.py::test_an_unusable_file_is_named_with_its_reason_and_leaves_nothing",
        "test_hostile_images.py::test_of_many_frames_the_first_is_used_and_all_are_counted",
    ],
    3: [
        "test_decoders.py::test_decoders_that_hang_or_die_cost_their_file_and_leave_no_half_of_it",
        "test_decoders.py::test_a_picture_that_needs_more_memory_than_a_worker_may_have_is_a_bomb",
        "test_decoders.py::test_nothing_but_the_allowed_decoders_is_ever_started",
    ],
    4: [
        "test_hostile_images.py::test_every_file_has_its_outcome_and_only_the_unusable_are_quarantined",
        "test_hostile_images.py::test_an_unusable_file_is_named_with_its_reason_and_leaves_nothing",
        "test_hostile_images.py::test_flipped_bits_and_cut_files_are_an_image_or_a_reason_and_never_a_crash",
    ],
    5: ["test_disk.py::test_one_flipped_bit_in_an_output_is_found_by_verify_and_mended_by_a_build"],
    6: [
        "test_hostile_images.py::test_content_decides_and_not_the_name",
        "test_hostile_images.py::test_full_keeps_every_frame_for_it_keeps_every_byte",
    ],
    7: ["test_hostile_images.py::test_inks_become_rgb_and_the_record_says_what_they_were"],
    8: ["test_hostile_images.py::test_transparency_shows_the_recipes_background_and_nothing_hidden"],
    9: [
        "test_hostile_images.py::test_sixteen_bits_are_scaled_and_never_clipped",
        "test_hostile_images.py::test_one_bit_is_black_and_white",
        "test_hostile_images.py::test_a_range_that_nobody_knows_is_refused_and_not_guessed",
    ],
    10: [
        "test_hostile_images.py::test_of_many_frames_the_first_is_used_and_all_are_counted",
        "test_hostile_images.py::test_full_keeps_every_frame_for_it_keeps_every_byte",
    ],
    11: ["test_hostile_images.py::test_orientation_is_applied_once_and_its_tag_is_gone"],
    12: ["test_hostile_images.py::test_broken_metadata_is_no_loss"],
    13: ["test_hostile_images.py::test_a_colour_profile_is_counted_not_applied_and_dropped_with_the_rest"],
    14: ["test_hostile_images.py::test_the_place_of_a_photo_is_stripped_on_writing_anew_and_kept_by_full"],
    15: ["test_links_and_special_files.py::test_links_are_counted_and_never_followed_not_even_in_a_circle"],
    16: [
        "test_links_and_special_files.py::test_pipes_and_sockets_named_as_images_are_quarantined_and_never_opened",
        "test_links_and_special_files.py::test_a_device_named_as_an_image_is_quarantined_and_never_opened",
        "test_links_and_special_files.py::test_a_file_that_is_swapped_for_something_else_after_it_was_listed_is_not_opened",
    ],
    17: ["test_links_and_special_files.py::test_what_may_not_be_read_is_told_and_comes_in_once_it_may"],
    18: [
        "test_names.py::test_names_are_kept_to_the_byte_and_records_show_them_escaped",
        "test_names.py::test_a_name_cannot_speak_to_the_terminal_nor_break_a_line",
    ],
    19: [
        "test_names.py::test_names_that_another_file_system_takes_for_one_are_not_both_taken",
        "test_names.py::test_classes_that_fold_to_one_folder_clash_file_by_file",
        "test_names.py::test_a_name_that_the_new_extension_makes_too_long_is_told",
    ],
    20: [
        "test_names.py::test_a_recipe_cannot_name_a_file_outside_the_source",
        "test_names.py::test_a_recipe_that_leads_out_of_the_source_ends_the_command_with_2",
        "test_names.py::test_a_list_that_leads_out_of_the_source_takes_nothing_from_there",
        "test_names.py::test_a_label_cannot_lead_out_of_the_output",
    ],
    22: [
        "test_disk.py::test_a_fault_at_any_change_on_disk_leaves_the_old_version_or_the_new_one_and_the_next_run_the_new",
        "test_disk.py::test_a_disk_of_one_megabyte_is_full_once_and_the_build_goes_on_when_it_has_grown",
    ],
    23: [
        "test_kills.py::test_a_kill_at_any_change_on_disk_leaves_the_old_version_or_the_new_one_and_the_next_run_the_new",
        "test_kills.py::test_a_first_build_killed_among_its_images_leaves_no_output_and_the_next_run_succeeds",
        "test_kills.py::test_an_update_killed_among_its_images_never_touches_the_files_of_the_old_version",
        "test_kills.py::test_a_staging_folder_full_of_rubbish_is_no_part_of_the_next_build",
    ],
    24: [
        "test_kills.py::test_a_kill_at_any_change_on_disk_leaves_the_old_version_or_the_new_one_and_the_next_run_the_new",
        "test_disk.py::test_a_folder_that_is_not_ours_is_never_written_to",
        "test_disk.py::test_replacing_a_version_by_another_leaves_nothing_of_the_old_one",
    ],
    25: [
        "test_concurrency.py::test_the_second_of_two_builders_exits_4_naming_the_first_which_goes_on",
        "test_concurrency.py::test_the_lock_of_a_builder_that_was_killed_holds_nobody_up",
        "test_concurrency.py::test_builders_that_start_at_once_end_in_one_whole_subset",
        "test_concurrency.py::test_a_dry_run_beside_a_builder_is_not_held_up",
    ],
    26: [
        "test_changing_sources.py::test_a_file_rewritten_once_while_it_is_read_comes_in_as_it_is_now",
        "test_changing_sources.py::test_a_file_that_never_rests_is_quarantined_and_comes_in_later",
        "test_changing_sources.py::test_a_file_cut_while_it_is_read_is_truncated_and_comes_in_once_it_is_whole",
        "test_changing_sources.py::test_a_file_that_grows_while_it_is_read_is_read_again",
        "test_changing_sources.py::test_a_file_removed_while_it_is_read_is_whole_or_vanished_and_gone_the_next_time",
        "test_changing_sources.py::test_a_file_replaced_between_reading_and_linking_is_not_taken_for_what_was_read",
        "test_changing_sources.py::test_files_and_folders_that_vanish_after_they_were_listed_are_named",
        "test_changing_sources.py::test_a_source_that_is_rewritten_all_the_time_gives_whole_files_and_a_quiet_one_the_usual_bytes",
    ],
    27: ["test_links_and_special_files.py::test_an_output_in_its_source_or_round_it_is_refused_by_real_path"],
    28: [
        "../runs/test_checkpoint.py::test_a_hostile_object_is_refused_and_never_run",
        "../runs/test_checkpoint.py::test_garbage_is_one_plain_error",
    ],
    29: ["../manifest/test_read.py::test_another_format_version_is_refused_by_name"],
    30: [
        "../data/test_workers.py::test_a_worker_that_dies_is_told_with_its_file_and_a_cure_and_the_next_run_works",
        "../data/test_loaders.py::test_a_worker_that_dies_names_its_file_and_the_loader_can_be_used_again",
        "test_loading.py::test_no_batch_needs_shared_memory_of_the_system",
        "test_loading.py::test_workers_end_soon_after_their_parent_was_killed",
        "test_loading.py::test_a_program_that_ends_takes_its_workers_with_it",
    ],
    31: [
        "../data/test_loaders.py::test_a_file_that_went_bad_is_told_alike_wherever_it_was_decoded",
        "../data/test_making.py::test_with_skip_nothing_but_the_bad_rows_is_missing",
        "../cli/test_resume.py::test_a_bad_image_stops_it_and_it_goes_on_without_that_image_when_told",
        "../cli/test_resume.py::test_skipped_images_are_counted_named_and_replaced_by_none",
        "../cli/test_resume.py::test_a_file_that_holds_another_image_now_is_noticed_by_a_cache",
    ],
    32: [
        "../callbacks/test_nan_guard.py::test_bad_training_loss_stops_at_its_step",
        "../callbacks/test_nan_guard.py::test_checkpoints_and_records_are_those_of_the_last_good_epoch",
        "../callbacks/test_nan_guard.py::test_weights_that_are_not_finite_are_never_saved_inside_an_epoch",
    ],
    33: [
        "../training/test_determinism.py::test_no_bit_depends_on_the_workers",
        "../training/test_determinism.py::test_no_bit_depends_on_where_images_are_kept",
        "../training/test_determinism.py::test_no_bit_depends_on_the_global_generator",
        "../training/test_train.py::test_the_same_command_twice_gives_the_same_weights_bit_for_bit",
    ],
    34: [
        "../cli/test_resume.py::test_ctrl_c_exits_130_and_says_what_goes_on",
        "../cli/test_resume.py::test_sigterm_prints_one_object_under_json_and_draws_no_page_of_no_epoch",
        "../cli/test_resume.py::test_twice_it_leaves_at_once_and_says_how_to_go_on_all_the_same",
        "../callbacks/test_resume.py::test_a_fit_stopped_at_any_batch_goes_on_to_the_same_end",
        "test_loading.py::test_ctrl_c_for_the_whole_group_is_the_parents_alone_to_act_on",
        "test_signals.py::test_ctrl_c_at_a_random_time_exits_130_and_the_same_command_goes_on",
        "test_signals.py::test_ctrl_c_at_any_change_on_disk_leaves_the_old_version_or_the_new_one_and_the_next_run_the_new",
        "test_signals.py::test_a_signal_among_the_images_of_an_update_leaves_the_old_version",
    ],
    35: [
        "test_decoders.py::test_what_a_decoder_writes_to_stderr_goes_into_the_record_of_its_file",
        "test_decoders.py::test_the_screen_shows_nothing_of_what_decoders_say",
    ],
}


def names_in(path: Path) -> set[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    names = {node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    place = "" if path.parent == HERE else f"../{path.parent.name}/"
    return {f"{place}{path.name}::{name}" for name in names}


def test_every_row_of_the_threat_table_names_tests_that_are_there_and_every_test_has_its_row() -> None:
    written = set[str]().union(*(names_in(path) for path in HERE.glob("test_*.py") if path != Path(__file__)))

    elsewhere = set[str]().union(*(names_in(path) for path in HERE.parent.glob("[a-z]*/test_*.py")))

    named = {name for names in TESTS.values() for name in names}

    assert set(TESTS) == {*range(1, 21), *range(22, 36)}
    assert all(TESTS.values())
    assert {name for name in named if not name.startswith("../")} == written
    assert {name for name in named if name.startswith("../")} <= elsewhere
