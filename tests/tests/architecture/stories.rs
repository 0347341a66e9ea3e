//! Which test shows that a failure story of other systems does not happen here,
//! and which one each cell of the table of guarantees. The tests are where they
//! belong by their behaviour; here are only the lists, which are kept whole.

use std::{collections::BTreeSet, fs, path::Path};

/// Where the tests are that a list names, by its word for them.
const SUITES: [(&str, &str); 4] = [
    ("system", "tests/tests/system"),
    ("crash", "job-service/tests/crash"),
    ("store", "job-service/src/store/tests"),
    ("dispatch", "job-service/src/dispatch"),
];

/// F1 to F28 and F34 of the failure stories, some by several tests.
const STORIES: &[(&str, &[&str])] = &[
    (
        "F1",
        &["system stuck_queues::a_generation_that_outlasts_every_patience_is_sent_once"],
    ),
    (
        "F2",
        &[
            "crash at_points::a_claim_that_was_never_sent_is_handed_back_unspent",
            "crash at_points::a_request_that_never_arrived_is_sent_again",
            "crash at_points::a_generation_under_way_is_followed_and_its_image_fetched",
            "crash at_points::an_answer_that_was_lost_before_its_commit_is_fetched",
            "crash at_points::images_that_were_kept_before_the_commit_are_those_of_the_job",
        ],
    ),
    (
        "F3",
        &[
            "system lost_servers::a_job_of_a_killed_server_is_made_again_once_the_old_process_is_gone",
            "system restarting::a_job_whose_server_dies_while_the_service_is_down_is_made_again",
        ],
    ),
    (
        "F4",
        &[
            "system unknown_outcomes::another_server_makes_it_after_the_time_and_that_is_marked",
            "store ends::what_an_earlier_attempt_still_writes_changes_nothing",
        ],
    ),
    (
        "F5",
        &["system cancelling::a_running_job_is_interrupted_and_the_next_one_is_not"],
    ),
    (
        "F6",
        &[
            "system cancel_races::the_next_job_is_never_interrupted_however_close_a_cancel_comes_to_the_end",
            "system cancel_stages::a_picture_that_is_whole_before_the_interrupt_takes_effect_is_kept_as_such",
        ],
    ),
    (
        "F7",
        &["system cancelling::cancelling_a_job_that_waits_leaves_the_one_at_work_alone"],
    ),
    (
        "F8",
        &[
            "system wrong_models::an_unknown_checkpoint_never_completes",
            "system wrong_models::a_wrong_model_every_time_fails_the_job_and_keeps_no_image",
        ],
    ),
    (
        "F9",
        &[
            "system models_decide_where::an_ambiguous_reference_waits_with_its_candidates_and_is_never_guessed",
        ],
    ),
    (
        "F10",
        &[
            "system models_decide_where::a_model_is_found_by_the_title_that_it_had_before_its_first_load",
        ],
    ),
    (
        "F11",
        &[
            "system requests_arrive_as_given::zero_arrives_as_zero",
            "system requests_arrive_as_given::what_is_absent_stays_absent",
        ],
    ),
    (
        "F12",
        &[
            "system lost_answers::a_dedicated_server_generates_once_and_its_file_is_fetched",
            "system lost_answers::a_shared_server_generates_again_but_never_two_at_once",
            "system full_disks::images_that_find_no_room_are_kept_when_there_is_room",
        ],
    ),
    (
        "F13",
        &["system stuck_queues::a_failed_call_that_stays_active_at_the_server_blocks_nothing"],
    ),
    (
        "F14",
        &[
            "crash poison::a_job_that_ends_the_program_each_time_is_given_up_and_others_are_recovered_meanwhile",
        ],
    ),
    (
        "F15",
        &[
            "system models_decide_where::a_job_whose_model_is_nowhere_waits_and_is_sent_when_an_inventory_shows_it",
            "system deadlines::a_job_that_no_server_takes_in_time_fails_with_why_it_waited",
            "system availability_policies::a_job_that_does_not_want_to_wait_fails_when_nobody_has_its_model",
        ],
    ),
    (
        "F16",
        &["system failures::another_failure_is_tried_again_until_the_attempts_are_used_up"],
    ),
    (
        "F17",
        &[
            "system one_broken_row::jobs_behind_a_broken_row_run",
            "system one_broken_row::a_broken_row_under_way_does_not_keep_the_service_from_starting",
        ],
    ),
    (
        "F18",
        &["system stuck_queues::a_server_that_never_answers_holds_up_no_other"],
    ),
    (
        "F19",
        &["system deleting::a_job_that_has_not_ended_is_deleted_only_when_it_may_be_cancelled"],
    ),
    (
        "F20",
        &[
            "system servers_are_looked_after::a_cordoned_server_gets_no_further_jobs_until_it_is_uncordoned",
            "system draining::draining_waits_for_the_last_job_and_lets_no_other_begin",
        ],
    ),
    (
        "F21",
        &["system stuck_queues::watchers_that_leave_take_no_job_with_them"],
    ),
    (
        "F22",
        &["system restarting::a_job_that_runs_during_a_restart_is_taken_up_and_not_repeated"],
    ),
    (
        "F23",
        &["system stuck_queues::long_jobs_keep_no_lost_one_from_being_found_after_a_restart"],
    ),
    (
        "F24",
        &["system stuck_queues::a_job_that_has_waited_for_weeks_is_sent_first"],
    ),
    (
        "F25",
        &[
            "system histories::in_random_histories_every_job_is_accounted_for",
            "system storms::whatever_goes_wrong_every_job_is_completed_and_none_is_made_twice_at_once",
        ],
    ),
    (
        "F26",
        &["system warm_servers::two_checkpoints_in_turn_are_not_loaded_in_turn"],
    ),
    (
        "F27",
        &[
            "system stuck_queues::a_server_that_never_answers_holds_up_no_other",
            "system lost_servers::behind_forty_waiting_calls_no_interrupt_meets_the_next_job",
            "system lost_servers::a_server_that_answers_nothing_but_the_job_itself_loses_no_answer",
        ],
    ),
    (
        "F28",
        &[
            "system failures::a_refused_connection_spends_nothing_and_closes_the_server",
            "system failures::a_failed_job_is_tried_on_another_server_first",
            "system breakers::a_server_where_three_jobs_failed_in_a_row_gets_no_more_for_a_while",
        ],
    ),
    (
        "F34",
        &[
            "dispatch observe/tests::an_id_that_the_server_does_not_know_never_reads_as_done",
            "system restarting::a_job_whose_server_has_forgotten_it_is_never_taken_for_done",
            "system lost_answers::a_request_that_is_accepted_and_never_answered_is_sent_again_after_the_grace",
        ],
    ),
];

/// The guarantees of dispatch by their rows in the README's table: on a
/// DEDICATED server with its UI, and on a SHARED one or one without its UI.
const GUARANTEES: &[(&str, [&[&str]; 2])] = &[
    (
        "a call is repeated with its request id",
        [
            &[
                "system repeating::a_submission_sent_many_times_at_once_is_one_job",
                "system repeating::a_repetition_answers_the_job_as_it_is_now_even_after_a_restart",
            ],
            // No server has to do with it.
            &["system repeating::a_submission_sent_many_times_at_once_is_one_job"],
        ],
    ),
    (
        "job-service is killed at any instant",
        [
            &[
                "crash at_points::a_claim_that_was_never_sent_is_handed_back_unspent",
                "crash at_points::a_request_that_never_arrived_is_sent_again",
                "crash at_points::a_generation_under_way_is_followed_and_its_image_fetched",
                "crash at_points::an_answer_that_was_lost_before_its_commit_is_fetched",
                "crash at_points::images_that_were_kept_before_the_commit_are_those_of_the_job",
                "crash at_random::no_job_is_lost_or_generated_twice_however_often_the_program_is_killed",
            ],
            &[
                "crash at_points::an_answer_that_was_lost_is_made_again_where_no_file_can_be_fetched",
                "system api_only_servers::a_restart_of_job_service_waits_for_what_still_runs",
                "system lost_answers::an_answer_that_is_cut_while_the_server_still_works_is_waited_for",
                "system histories::in_random_histories_every_job_is_accounted_for",
            ],
        ],
    ),
    (
        "the connection breaks during a job",
        [
            &[
                "system lost_answers::a_dedicated_server_generates_once_and_its_file_is_fetched",
                "system lost_answers::an_answer_that_is_cut_while_the_server_still_works_is_waited_for",
            ],
            &[
                "system lost_answers::a_shared_server_generates_again_but_never_two_at_once",
                "system lost_answers::an_answer_that_is_cut_while_the_server_still_works_is_waited_for",
                "system api_only_servers::a_lost_answer_is_made_again_after_the_first_has_ended",
            ],
        ],
    ),
    (
        "Forge is killed during a job",
        [
            &[
                "system lost_servers::a_job_of_a_killed_server_is_made_again_once_the_old_process_is_gone",
            ],
            &[
                "system api_only_servers::a_job_of_a_killed_server_is_made_again_by_its_next_process",
            ],
        ],
    ),
    (
        "Forge cannot be reached for long",
        [
            &[
                "system unknown_outcomes::without_that_policy_a_job_waits_for_its_server",
                "system unknown_outcomes::another_server_makes_it_after_the_time_and_that_is_marked",
            ],
            &[
                "system unknown_outcomes::the_same_holds_for_a_shared_server",
                "system unknown_outcomes::the_same_holds_for_a_server_without_its_ui",
            ],
        ],
    ),
    (
        "a cancel",
        [
            &[
                "system cancelling::a_running_job_is_interrupted_and_the_next_one_is_not",
                "system cancelling::cancelling_a_job_that_waits_leaves_the_one_at_work_alone",
                "system cancel_races::the_next_job_is_never_interrupted_however_close_a_cancel_comes_to_the_end",
            ],
            &[
                "system cancelling::on_a_shared_server_a_cancelled_generation_ends_by_itself",
                "system cancel_stages::on_a_shared_server_a_job_behind_other_work_ends_by_itself",
                "system api_only_servers::a_cancelled_generation_ends_by_itself_and_no_other_is_hit",
            ],
        ],
    ),
    (
        "the server used another model",
        [
            &[
                "system wrong_models::an_unknown_checkpoint_never_completes",
                "system wrong_models::a_wrong_model_is_an_attempt_that_failed",
                "system wrong_models::a_wrong_model_every_time_fails_the_job_and_keeps_no_image",
            ],
            &["system api_only_servers::a_swapped_model_is_noticed_without_the_ui_too"],
        ],
    ),
];

#[test]
fn every_story_of_dispatch_has_a_test() {
    let wanted: BTreeSet<String> = (1..=28).chain([34]).map(|n| format!("F{n}")).collect();
    let told: BTreeSet<String> = STORIES.iter().map(|one| one.0.to_owned()).collect();
    let missing: Vec<_> = wanted.difference(&told).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
    for (story, tests) in STORIES {
        all_are_run(story, tests);
    }
}

#[test]
fn every_cell_of_the_guarantees_has_a_test() {
    const ROWS: usize = 7;
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows: BTreeSet<&str> = GUARANTEES.iter().map(|one| one.0).collect();
    assert_eq!(rows.len(), ROWS);
    for (row, cells) in GUARANTEES {
        let promised = readme
            .lines()
            .any(|line| line.starts_with(&format!("| {row} |")));
        assert!(promised, "the README's table has no row {row:?}");
        for tests in cells {
            all_are_run(row, tests);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Each of a promise's tests is there, and is run without being asked for.
fn all_are_run(promise: &str, tests: &[&str]) {
    assert!(!tests.is_empty(), "no test for {promise}");
    for test in tests {
        let (suite, path) = test.split_once(' ').unwrap();
        let (module, name) = path.split_once("::").unwrap();
        let folder = SUITES.iter().find(|one| one.0 == suite).unwrap().1;
        let path = root().join(folder).join(format!("{module}.rs"));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{promise}: {}: {error}", path.display()));
        let lines: Vec<&str> = text.lines().collect();
        let at = lines
            .iter()
            .position(|line| line.contains(&format!("fn {name}(")))
            .unwrap_or_else(|| panic!("{promise}: {module} has no {name}"));
        let before = lines[..at].iter().rev();
        let attributes: Vec<&&str> = before.take_while(|line| line.starts_with('#')).collect();
        let is_test = attributes.iter().any(|line| line.contains("test"));
        let ignored = attributes.iter().any(|line| line.starts_with("#[ignore"));
        assert!(
            is_test && !ignored,
            "{promise}: {name} is not run as a test"
        );
    }
}
