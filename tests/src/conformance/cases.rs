//! Every case by name, so that each is a test of its own on every implementation.

/// Tests of every case about stores; `$stores` is an async function that makes empty ones. With another macro's name before it,
/// that macro gets the cases.
#[macro_export]
macro_rules! store_cases {
    ($stores:path) => {
        $crate::store_cases! { case_tests $stores }
    };
    ($with:ident $stores:path) => {
        $crate::$with! { $stores;
            accepting {
                a_new_run_is_ready_now_and_due_after_the_rescue_time
                the_same_request_again_is_the_same_run
                a_large_first_entry_is_kept_beside_the_head
                a_run_that_was_recorded_and_not_opened_is_opened_by_who_repeats
                who_thaws_after_another_opened_the_run_changes_nothing
                a_large_first_entry_without_a_head_is_opened_as_it_is
                an_entry_beside_a_head_that_carries_one_counts_for_nothing
                of_many_who_open_one_recorded_run_one_does
                a_key_of_a_run_that_was_never_opened_is_another_requests_no_more_than_any
                a_record_of_a_run_that_was_never_opened_expires_as_any
                a_run_outlives_the_key_that_names_it
                a_repeat_of_the_very_same_write_is_its_own_run
                nobody_has_opened_a_run_that_is_not_there
                a_key_used_for_another_request_is_a_mismatch
                equal_keys_of_two_tenants_are_two_runs
                a_key_that_somebody_is_working_under_is_in_progress
                a_mismatch_is_told_even_while_somebody_is_working_under_the_key
                a_key_whose_worker_ran_out_of_time_is_free
                an_expired_key_is_free
                a_key_under_which_something_else_was_done_is_refused
                the_record_of_a_run_answers_other_operations_with_the_run
                a_journal_that_does_not_begin_with_an_acceptance_is_refused
                a_run_that_is_there_is_not_taken_on_for_somebody_else
                a_first_entry_that_does_not_fit_writes_nothing
                of_many_at_once_under_one_key_one_is_created
            }
            appending {
                entries_come_back_in_order_from_where_asked
                the_journal_of_nobody_is_empty
                journals_do_not_mix
                the_second_writer_of_a_place_finds_it_taken
                a_repeated_append_whose_answer_was_lost_is_written
                the_same_words_of_another_claim_are_another_entry
                of_many_appends_for_one_place_one_is_written
                a_long_entry_comes_back_as_it_was_written
                an_entry_that_does_not_fit_leaves_its_place_free
                a_journal_of_many_pages_comes_back_whole
                a_damaged_entry_is_said_to_be_so
                an_entry_of_a_later_version_is_not_guessed_at
                an_unreadable_entry_holds_its_place
                a_gap_in_a_journal_is_unreadable
                no_entry_is_appended_beyond_the_last_that_is_read
                a_journal_that_is_longer_than_a_load_is_unreadable_and_not_cut
                an_expired_journal_is_never_read
            }
            interjecting {
                an_interjection_appends_and_makes_the_run_ready
                an_interjection_forgives_strikes_and_keeps_the_lease
                a_repeated_interjection_whose_answer_was_lost_counts_once
                an_interjection_repeated_when_the_run_is_over_was_written
                two_people_interject_at_one_place_and_one_is_written
                a_taken_place_leaves_the_head_as_it_is
                a_run_that_is_over_cannot_be_interjected
                a_dead_run_is_replayed
                only_a_dead_run_is_replayed
                an_unexpected_head_counts_before_a_taken_place
                nobody_cannot_be_interjected
                an_expired_run_cannot_be_interjected
                an_interjection_that_does_not_fit_changes_nothing
                an_interjected_entry_expires_with_its_run
            }
            claiming {
                a_claim_wins_a_ready_run_with_its_head
                a_claim_leaves_the_due_time_where_it_was
                a_run_that_somebody_holds_is_held_until_the_lease_ends
                a_repeated_claim_whose_answer_was_lost_wins_the_same_lease
                a_lease_is_taken_over_only_when_it_is_over_by_every_clock
                strikes_rise_with_each_claim_that_is_not_left
                a_parked_run_is_parked_until_it_is_ready
                a_run_that_is_over_says_how_it_ended
                a_claim_on_nobody_finds_nothing
                an_expired_run_is_never_claimed
                of_many_claimants_one_wins
                a_renewed_lease_holds_longer_and_is_due_when_it_ends
                a_lease_that_was_taken_over_is_not_renewed
                a_lease_that_was_given_back_is_not_renewed
                a_lease_on_nobody_is_not_renewed
            }
            leaving {
                a_run_is_left_as_wanted
                a_claim_that_came_to_nothing_is_left_with_its_strikes
                every_status_is_kept_with_what_it_says
                a_run_that_is_over_is_neither_ready_nor_due
                a_later_leave_says_nothing_of_an_earlier_one
                a_repeated_leave_whose_answer_was_lost_is_done
                a_leave_repeated_after_an_interjection_is_done_and_undoes_nothing
                a_holder_that_missed_an_interjection_stays
                a_holder_that_was_overtaken_has_lost
                a_holder_that_claims_again_has_lost_its_first_lease
                a_renewed_lease_is_given_back
                a_lease_that_is_over_but_not_taken_over_is_given_back
                nobody_cannot_be_left
            }
            finding {
                a_run_that_nobody_works_on_is_due_after_the_rescue_time
                the_longest_due_come_first_and_not_more_than_asked
                each_run_is_due_in_its_shard_only
                a_run_that_is_over_is_never_due
                a_run_that_waits_is_due_when_it_said
                a_run_is_in_the_queue_of_what_it_is_due_for
                a_postponed_run_is_due_later
                whoever_postpones_a_run_is_told_how_often_it_was_claimed_in_vain
                of_two_that_postpone_one_due_time_one_moves_it
                what_is_not_due_is_not_postponed
                an_expired_run_is_never_due
                an_expired_run_hides_no_other_that_is_due
                an_expired_head_is_never_read
            }
            listing {
                an_actor_sees_the_newest_runs_first
                a_listed_head_is_whole
                an_actor_sees_nobody_elses_runs
                the_longest_waiting_approval_comes_first
                waiting_runs_come_in_pages_and_none_twice
                a_position_of_another_tenant_leads_to_ones_own_runs
                a_tenant_sees_its_own_approvals_only
                a_decided_run_is_out_of_the_inbox
                an_expired_run_hides_no_other_in_the_inbox
                a_run_that_is_left_otherwise_is_out_of_the_inbox
                the_newest_trouble_comes_first_whoever_has_it
                what_goes_well_is_in_no_inbox
                a_replayed_run_is_in_trouble_no_more
                an_expired_run_is_not_listed
                runs_of_everybody_are_found_in_pages_the_newest_first
                runs_are_found_by_owner_age_and_status
            }
            idempotency {
                the_first_to_begin_does_it_and_the_second_waits
                of_many_who_begin_one_does_it
                a_repeated_begin_whose_answer_was_lost_starts
                what_was_done_is_answered_with_its_result
                a_key_used_for_something_else_mismatches_at_every_stage
                an_expired_record_counts_as_absent
                an_owner_out_of_time_is_taken_over_and_too_late
                an_owner_out_of_time_whom_nobody_took_over_completes
                a_released_key_is_free
                nobody_else_completes_or_releases
                a_repeated_completion_is_true_and_another_result_is_not_taken
                what_was_done_is_not_released
                what_was_never_begun_is_neither_completed_nor_released
            }
            snapshots {
                a_journal_comes_page_by_page_and_says_whether_there_is_more
                a_page_is_bounded_by_its_bytes
                a_snapshot_comes_back_as_the_state_that_it_was_made_of
                a_snapshot_of_many_parts_comes_back_whole
                a_late_snapshot_of_fewer_entries_changes_no_state
                a_snapshot_of_other_code_or_of_another_journal_counts_for_nothing
                whoever_has_read_many_entries_saves_a_snapshot_and_the_next_reads_what_came_since
                an_expired_snapshot_is_never_read
            }
            retaining {
                what_is_long_over_is_deleted_once_and_nothing_else
                a_part_that_is_not_looked_at_keeps_everything
                a_place_behind_the_last_table_is_the_end_of_its_part
            }
            answering {
                an_answer_comes_back_until_it_expires
                a_later_answer_takes_the_place_of_an_earlier_one
                tenants_tools_and_questions_share_no_answers
            }
            controls {
                what_was_never_made_is_missing_and_cannot_be_changed
                what_was_made_and_never_changed_lets_everything_happen
                of_many_who_make_the_controls_one_does_and_a_change_stays
                a_number_that_was_lost_is_missing_until_the_newest_version_is_restored
                a_number_that_was_lost_stands_in_the_way_of_no_change
                every_read_after_a_change_is_of_it
                a_change_is_read_at_once_kept_and_audited
                of_many_who_change_one_version_one_does_and_only_it_is_audited
                a_repeated_change_whose_answer_was_lost_is_done
                a_change_of_an_old_version_conflicts
                held_runs_are_listed_in_their_part_the_longest_held_first_until_they_are_left_otherwise
                a_saved_prompt_never_changes_and_is_listed_newest_first
            }
            buckets {
                a_bucket_gives_its_burst_and_then_says_when_to_come_back
                tokens_come_back_one_by_one_and_never_more_than_the_burst
                of_many_who_take_at_once_only_as_many_as_there_are_tokens_get_one
                the_actors_of_a_tenant_share_its_bucket_and_nothing_else
                a_limit_that_is_off_counts_nothing
                a_change_of_the_limit_holds_at_once
                a_tenant_with_very_many_actors_is_counted_as_well
                what_is_counted_apart_has_buckets_of_its_own
                a_share_is_counted_by_all_processes_and_refuses_once_it_is_bounded
            }
            repeating {
                a_request_that_was_taken_on_is_known_by_its_key
                what_a_key_was_used_for_is_remembered_until_it_expires_and_said_while_it_is_there
            }
            budgets {
                what_is_reserved_counts_until_it_is_settled
                a_repeated_reservation_or_settlement_whose_answer_was_lost_counts_once
                a_budget_that_is_used_up_is_exhausted_and_the_next_day_is_not
                what_never_fits_is_exhausted
                of_many_at_once_no_more_than_fit_are_reserved
                a_reservation_of_a_dead_process_is_settled_at_its_worst_by_who_is_refused
                accounts_of_tenants_and_actors_do_not_mix
                many_open_reservations_of_one_actor_are_kept_and_settled_each_once
            }
            windows {
                what_is_reserved_counts_until_it_is_taken_back
                what_happened_counts_after_it_is_settled
                a_repeated_reservation_or_settlement_of_a_count_counts_once
                a_counter_that_changed_since_it_was_seen_counts_nothing_more
                of_many_that_saw_the_same_one_is_counted
                counters_do_not_mix
                a_crowded_counter_makes_room_once_processes_are_dead
            }
            jobs {
                a_job_is_locked_while_somebody_is_at_it
                a_repeated_delivery_of_a_done_job_is_done
                an_old_delivery_is_done_even_while_somebody_is_at_the_next
                a_repeated_begin_of_a_job_whose_answer_was_lost_starts
                a_lock_that_is_over_is_taken_over_and_its_owner_is_too_late
                a_failed_job_can_be_tried_again_for_the_same_time
                a_job_that_failed_the_first_time_was_done_for_no_time
                a_job_goes_on_where_its_last_run_stopped
                a_job_that_nobody_began_is_not_finished
                every_job_is_listed_with_its_lock_and_its_last_run
            }
            plans {
                a_plan_comes_back_in_its_order
                the_largest_plan_comes_back_whole_and_a_larger_one_is_refused
                a_plan_that_nobody_made_is_not_there
                an_item_is_moved_at_most_once
                an_item_moves_on_from_what_it_is
                an_item_that_is_not_there_is_not_moved
                a_plan_that_is_made_again_keeps_what_has_become_of_it
                another_plan_of_the_same_id_is_refused
                an_expired_plan_is_never_read
                the_audit_trail_is_read_newest_first
                two_audit_records_of_one_moment_are_both_kept
                an_expired_audit_record_is_never_read
            }
        }
    };
}

/// Tests of every case about queues; `$queues` is an async function that makes empty ones. As in `store_cases` otherwise.
#[macro_export]
macro_rules! queue_cases {
    ($queues:path) => {
        $crate::queue_cases! { case_tests $queues }
    };
    ($with:ident $queues:path) => {
        $crate::$with! { $queues;
            queues {
                a_message_that_is_sent_arrives_once
                a_batch_of_wake_ups_arrives
                a_wake_up_of_a_batch_that_is_delayed_does_not_arrive_before_its_time
                a_tenants_backlog_does_not_hold_up_another_tenants_message
                no_wake_ups_are_sent_for_no_runs
                a_message_put_back_is_received_again
                an_acknowledged_message_is_gone
                what_was_never_received_cannot_be_hidden
                messages_are_received_as_they_were_sent_and_not_more_than_asked_for
                some_are_hidden_and_some_shown_in_one_go
                a_message_received_too_often_is_dead
                a_received_dead_message_is_hidden_until_it_is_released
                a_deleted_dead_message_is_gone
                no_more_dead_messages_are_received_than_asked
            }
        }
    };
}

/// Tests of every case about secrets; `$secrets` is an async function that makes a store with the one that the cases know. As in
/// `store_cases` otherwise.
#[macro_export]
macro_rules! secret_cases {
    ($secrets:path) => {
        $crate::secret_cases! { case_tests $secrets }
    };
    ($with:ident $secrets:path) => {
        $crate::$with! { $secrets;
            secrets {
                a_secret_is_had_by_its_name
                a_secret_can_be_seen_to_be_there_without_being_read
                a_secret_that_is_not_there_is_missing
            }
        }
    };
}

/// One test for each case, in a module named as the case's.
#[macro_export]
macro_rules! case_tests {
    ($make:path; $($module:ident { $($case:ident)+ })+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $case() {
                let subject = $make().await;
                windlass_tests::conformance::$module::$case(&subject.ports).await;
            })+
        })+
    };
}

/// The cases as data: a `Vec` of [`Case`](crate::conformance::Case) over ports of type `$ports`.
#[macro_export]
macro_rules! case_list {
    ($ports:path; $($module:ident { $($case:ident)+ })+) => {
        vec![$($($crate::conformance::Case::<$ports> {
            name: concat!(stringify!($module), "::", stringify!($case)),
            run: |ports| Box::pin($crate::conformance::$module::$case(ports)),
        },)+)+]
    };
}
