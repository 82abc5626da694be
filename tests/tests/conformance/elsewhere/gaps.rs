//! What the emulators are known to do otherwise than AWS documents. A case that fails and is not here, or that holds although it is,
//! fails the test.

/// Whether a case holds in spite of its gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It fails whenever it is tried.
    Never,
    /// It depends on which requests meet.
    NotAlways,
}

impl Holds {
    /// For the table.
    pub fn word(self) -> &'static str {
        match self {
            Holds::Never => "fails",
            Holds::NotAlways => "may fail",
        }
    }
}

/// A case that does not hold on an emulator.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    /// The case.
    pub case: &'static str,
    /// Whether it holds sometimes.
    pub holds: Holds,
    /// What the emulator does.
    pub why: &'static str,
}

/// Moto looks at the condition and writes without a lock, in a thread for each request.
const NOT_ATOMIC: &str = "a condition is looked at and the item written without a lock, in one thread per request";

const fn not_atomic(case: &'static str) -> Gap {
    Gap { case, holds: Holds::NotAlways, why: NOT_ATOMIC }
}

/// Fair queues (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>).
const NOT_FAIR: Gap = Gap {
    case: "queues::a_tenants_backlog_does_not_hold_up_another_tenants_message",
    holds: Holds::Never,
    why: "a standard queue takes no notice of message groups",
};

/// Of moto 5.2.5.
pub const MOTO: &[Gap] = &[
    NOT_FAIR,
    not_atomic("accepting::of_many_at_once_under_one_key_one_is_created"),
    not_atomic("accepting::of_many_who_open_one_recorded_run_one_does"),
    not_atomic("appending::of_many_appends_for_one_place_one_is_written"),
    not_atomic("claiming::of_many_claimants_one_wins"),
    not_atomic("idempotency::of_many_who_begin_one_does_it"),
    not_atomic("controls::of_many_who_change_one_version_one_does_and_only_it_is_audited"),
    not_atomic("budgets::of_many_at_once_no_more_than_fit_are_reserved"),
    not_atomic("budgets::many_open_reservations_of_one_actor_are_kept_and_settled_each_once"),
    not_atomic("buckets::tokens_come_back_one_by_one_and_never_more_than_the_burst"),
    not_atomic("buckets::of_many_who_take_at_once_only_as_many_as_there_are_tokens_get_one"),
    not_atomic("buckets::a_change_of_the_limit_holds_at_once"),
    not_atomic("controls::of_many_who_make_the_controls_one_does_and_a_change_stays"),
    not_atomic("plans::an_item_is_moved_at_most_once"),
    not_atomic("windows::of_many_that_saw_the_same_one_is_counted"),
    Gap {
        case: "plans::the_largest_plan_comes_back_whole_and_a_larger_one_is_refused",
        holds: Holds::NotAlways,
        why: "a query over 10,000 items looks at each in Python, for longer than a request may take",
    },
];

/// Of MiniStack 1.5.33.
pub const MINISTACK: &[Gap] = &[
    NOT_FAIR,
    Gap {
        case: "queues::an_acknowledged_message_is_gone",
        holds: Holds::Never,
        why: "a message that is gone cannot be deleted once more; SQS says that it is deleted",
    },
];
