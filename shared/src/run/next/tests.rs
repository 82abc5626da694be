//! Decisions, state by state. Each journal is folded, so that what is decided about can really happen.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    agent::model::Usage,
    approval::{Action, ApprovalRequest, Subject, Verdict},
    run::{
        entry::{Accepted, Decision, Entry, Event, Plan, PlannedCall, ToolOutcome, UnknownCause, Writer},
        limits::Limits,
        request::{RunRequest, Source},
    },
};

const START: Timestamp = Timestamp::from_millis(1_768_000_000_000);
const CALL: CallId = CallId(1);

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

/// A journal that grows an entry a call, each at its own time.
struct Journal(Vec<Entry>);

impl Journal {
    fn accepted(limits: Limits) -> Journal {
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: json!({}),
            roles: Default::default(),
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("a trace");
        let event = Event::Accepted(Box::new(Accepted::new(request, Source::Http, trace, limits)));
        Journal(Vec::new()).then(0, Writer::Outside("m".to_owned()), event)
    }

    fn then(mut self, seconds: u64, writer: Writer, event: Event) -> Journal {
        let release = "r1".parse().expect("a release");
        self.0.push(Entry { at: at(seconds), writer, release, events: vec![event] });
        self
    }

    fn held(self, seconds: u64, event: Event) -> Journal {
        self.then(seconds, Writer::Holder(1), event)
    }

    fn planned(self, calls: u32) -> Journal {
        let call = |id| PlannedCall {
            id: CallId(id),
            tool: "t".parse().expect("a tool"),
            arguments: json!({}),
            redaction: Default::default(),
            echo: None,
        };
        let plan = Plan::Call { calls: (1..=calls).map(call).collect() };
        self.held(1, planned(plan))
    }

    fn judged(self, decision: Decision) -> Journal {
        self.held(
            2,
            Event::PolicyDecided { call: CALL, decision, policy_version: "p".to_owned(), policies: Vec::new() },
        )
    }

    fn allowed(self) -> Journal {
        self.planned(1).judged(Decision::Allow { reason: String::new() })
    }

    /// Attempted under claim 1, whose invocation is dead for certain at second 60.
    fn attempted(self, effect: Effect, compensable: bool) -> Journal {
        let event = Event::ToolAttempted { call: CALL, attempt: 1, effect, compensable, deadline: at(60) };
        self.allowed().held(3, event)
    }

    fn returned(self, outcome: ToolOutcome) -> Journal {
        self.held(4, Event::ToolReturned { call: CALL, attempt: 1, outcome, suspected: Vec::new() })
    }

    fn asked(self, remind_at: Option<Timestamp>) -> Journal {
        let action = Action {
            tenant: "acme".parse().expect("a tenant"),
            tool: "t".parse().expect("a tool"),
            arguments: json!({}),
        };
        let role = "finance".parse().expect("a role");
        let decision = Decision::RequireApproval { role, reason: String::new() };
        let request = ApprovalRequest {
            id: APPROVAL.parse().expect("an approval id"),
            subject: Subject::Permission,
            digest: action.digest(),
            action,
            role: "finance".parse().expect("a role"),
            reason: String::new(),
            evidence: None,
            requested_at: at(2),
            expires_at: at(1_000),
            remind_at,
            escalate_to: None,
        };
        self.planned(1).judged(decision).held(2, Event::ApprovalRequested(Box::new(request)))
    }

    fn cancelled(self) -> Journal {
        let by = "ada".parse().expect("an actor");
        self.then(5, Writer::Outside("c".to_owned()), Event::Cancelled { by, reason: None })
    }

    #[track_caller]
    fn decides(&self, seconds: u64, epoch: Epoch, next: Next) -> &Journal {
        let state = RunState::fold(&self.0).expect("the journal is sound");
        assert_eq!(decide(&state, at(seconds), epoch), next);
        self
    }
}

const APPROVAL: &str = "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1-1";

fn planned(plan: Plan) -> Event {
    let usage = Usage { input_tokens: 10, output_tokens: 5, cost_micro_usd: 7, ..Default::default() };
    Event::Planned { plan, usage, model: "m".to_owned(), prompt_version: "v".to_owned() }
}

fn fresh() -> Journal {
    Journal::accepted(Limits::default())
}

fn settled() -> Timestamp {
    at(60) + CLOCK_SKEW_MAX
}

fn approval() -> ApprovalId {
    APPROVAL.parse().expect("an approval id")
}

#[test]
fn a_run_is_planned_judged_called_answered_and_done() {
    fresh().decides(0, 1, Next::Plan);
    fresh().planned(2).decides(1, 1, Next::Judge(CALL));
    fresh().allowed().decides(2, 1, Next::Call(CALL));
    let value = ToolOutcome::Succeeded { value: json!(1) };
    fresh().attempted(Effect::Read, false).returned(value).decides(4, 1, Next::Plan);
    let answer = || fresh().held(1, planned(Plan::Answer { response: json!(1) }));
    answer().decides(1, 1, Next::Respond);
    let stopped = Event::Stopped { reason: StopReason::Completed, standing: Vec::new(), in_doubt: Vec::new() };
    answer().held(2, stopped).decides(2, 1, Next::Nothing);
}

#[test]
fn all_calls_of_a_plan_are_judged_before_the_first_is_made() {
    let one = fresh().planned(2).judged(Decision::Allow { reason: String::new() });
    one.decides(2, 1, Next::Judge(CallId(2)));
}

#[test]
fn an_intent_without_an_outcome_is_decided_by_its_effect_class() {
    let wait = || Next::Await { until: settled() };
    fresh().attempted(Effect::Read, false).decides(10, 2, Next::Call(CALL));
    fresh().attempted(Effect::Idempotent, true).decides(10, 2, Next::Call(CALL));
    fresh().attempted(Effect::Queryable, false).decides(10, 2, wait()).decides(61, 2, Next::Query(CALL));
    fresh().attempted(Effect::Irreversible, false).decides(10, 2, wait()).decides(61, 2, Next::Doubt(CALL));
    // The holder itself knows that it is not calling any more, and may ask at once; it cannot know more than that.
    fresh().attempted(Effect::Queryable, false).decides(10, 1, Next::Query(CALL));
    fresh().attempted(Effect::Irreversible, false).decides(10, 1, wait());
}

#[test]
fn an_intent_of_an_abandoned_run_is_never_repeated() {
    let wait = || Next::Await { until: settled() };
    let stop = || Next::Stop(StopReason::Cancelled);
    fresh().attempted(Effect::Read, false).cancelled().decides(10, 2, stop());
    fresh().attempted(Effect::Idempotent, false).cancelled().decides(10, 2, wait()).decides(61, 2, stop());
    fresh().attempted(Effect::Idempotent, true).cancelled().decides(10, 2, wait()).decides(
        61,
        2,
        Next::Compensate(CALL),
    );
    fresh().attempted(Effect::Queryable, false).cancelled().decides(10, 2, wait()).decides(61, 2, Next::Query(CALL));
    fresh().attempted(Effect::Irreversible, false).cancelled().decides(10, 2, wait()).decides(61, 2, stop());
}

#[test]
fn a_call_that_cannot_be_resolved_does_not_keep_its_run_from_its_limits() {
    let limits = Limits { wall_time_max_seconds: 100, ..Limits::default() };
    let unknown =
        ToolOutcome::Unknown { message: String::new(), retry_at: Some(at(5_000)), cause: UnknownCause::NotAsked };
    for effect in [Effect::Queryable, Effect::Idempotent] {
        let resting = Journal::accepted(limits).attempted(effect, false).returned(unknown.clone());
        let limit = "wall time of 100 s".to_owned();
        let over = Next::Abandon(StopReason::LimitReached { limit, renews_at: None });
        resting.decides(10, 2, Next::Await { until: at(100) }).decides(100, 2, over);
    }
}

#[test]
fn undoing_and_asking_about_an_abandoned_run_are_given_up_after_their_time() {
    let end = at(5) + UNDO_FOR;
    let seconds = UNDO_FOR.as_secs() + 5;
    let queryable = fresh().attempted(Effect::Queryable, true).cancelled();
    queryable.decides(seconds - 1, 2, Next::Query(CALL)).decides(seconds, 2, Next::GiveUp(CALL));
    let done = || ToolOutcome::Succeeded { value: json!(1) };
    let undone = fresh().attempted(Effect::Idempotent, true).returned(done()).cancelled();
    undone.decides(seconds - 1, 2, Next::Compensate(CALL)).decides(seconds, 2, Next::GiveUp(CALL));
    let attempt = Event::CompensationAttempted { call: CALL, attempt: 1, deadline: at(60) };
    let later = ToolOutcome::Unavailable { message: String::new(), retry_at: Some(end + Duration::from_secs(3600)) };
    let resting = undone.held(6, attempt).held(7, Event::Compensated { call: CALL, attempt: 1, outcome: later });
    resting.decides(8, 2, Next::Await { until: end }).decides(seconds, 2, Next::GiveUp(CALL));
    let given_up = Event::CompensationGivenUp { call: CALL, cause: "gone".to_owned() };
    let over = resting.held(seconds, given_up);
    over.decides(seconds, 2, Next::Stop(StopReason::Cancelled));
    assert_eq!(standing(&RunState::fold(&over.0).expect("the journal is sound")), [CALL]);
}

#[test]
fn what_an_abandoned_run_leaves_behind_is_listed() {
    let of = |journal: Journal| RunState::fold(&journal.0).expect("the journal is sound");
    let done = || ToolOutcome::Succeeded { value: json!(1) };
    let stands = of(fresh().attempted(Effect::Irreversible, false).returned(done()).cancelled());
    assert_eq!((standing(&stands), in_doubt(&stands)), (vec![CALL], vec![]));
    let doubtful = of(fresh().attempted(Effect::Irreversible, false).cancelled());
    assert_eq!((standing(&doubtful), in_doubt(&doubtful)), (vec![], vec![CALL]));
    let read = of(fresh().attempted(Effect::Read, false).returned(done()).cancelled());
    assert_eq!((standing(&read), in_doubt(&read)), (vec![], vec![]));
}

#[test]
fn a_completed_call_of_an_abandoned_run_is_undone() {
    let done = ToolOutcome::Succeeded { value: json!(1) };
    fresh().attempted(Effect::Idempotent, true).returned(done).cancelled().decides(6, 2, Next::Compensate(CALL));
}

#[test]
fn a_transient_failure_waits_and_an_unknown_outcome_is_resolved_by_its_class() {
    let unavailable = |retry_at| ToolOutcome::Unavailable { message: String::new(), retry_at };
    let unknown = |retry_at| ToolOutcome::Unknown { message: String::new(), retry_at, cause: UnknownCause::NoAnswer };
    let idempotent = |outcome| fresh().attempted(Effect::Idempotent, false).returned(outcome);
    idempotent(unavailable(Some(at(9)))).decides(5, 1, Next::Await { until: at(9) }).decides(9, 1, Next::Call(CALL));
    idempotent(unavailable(None)).decides(5, 1, Next::Plan);
    idempotent(unknown(Some(at(9)))).decides(5, 1, Next::Await { until: at(9) }).decides(9, 1, Next::Call(CALL));
    idempotent(unknown(None)).decides(5, 1, Next::Doubt(CALL));
    let queryable = fresh().attempted(Effect::Queryable, false).returned(unknown(Some(at(9))));
    queryable.decides(5, 1, Next::Await { until: at(9) + CLOCK_SKEW_MAX }).decides(10, 1, Next::Query(CALL));
}

#[test]
fn an_approval_is_waited_for_warned_about_and_then_counts_as_denied() {
    let asked = || fresh().asked(Some(at(750)));
    asked().decides(10, 1, Next::Await { until: at(750) }).decides(750, 1, Next::Remind(approval()));
    let reminded = || asked().held(750, Event::ApprovalReminded { approval: approval() });
    reminded().decides(751, 1, Next::Await { until: at(1_000) }).decides(1_000, 1, Next::Expire(approval()));
    let expired = Event::ApprovalDecided {
        approval: approval(),
        verdict: Verdict::Expired,
        by: None,
        note: None,
        result: None,
        signature: None,
    };
    reminded().held(1_000, expired).decides(1_000, 1, Next::Plan);
    fresh().asked(None).decides(10, 1, Next::Await { until: at(1_000) });
}

#[test]
fn a_used_up_limit_abandons_the_run() {
    let with = |limits: Limits| Journal::accepted(limits).held(1, planned(Plan::Malformed { problem: String::new() }));
    let generous = Limits::default();
    for (limits, word) in [
        (Limits { steps_max: 1, ..generous }, "1 steps"),
        (Limits { tokens_max: 15, ..generous }, "15 tokens"),
        (Limits { cost_max_micro_usd: 7, ..generous }, "7 micro-USD"),
    ] {
        with(limits).decides(2, 1, Next::Abandon(StopReason::LimitReached { limit: word.to_owned(), renews_at: None }));
    }
    with(generous).decides(2, 1, Next::Plan);
    let limits = Limits { wall_time_max_seconds: 100, ..generous };
    let limit = "wall time of 100 s".to_owned();
    Journal::accepted(limits).asked(None).decides(99, 1, Next::Await { until: at(100) }).decides(
        100,
        1,
        Next::Abandon(StopReason::LimitReached { limit, renews_at: None }),
    );
}

/// A journal that has grown to `entries` entries by questions that were not answered.
fn grown(journal: Journal, entries: usize) -> Journal {
    (journal.0.len()..entries).fold(journal, |journal, entry| {
        let (at_second, until) = (100 + entry as u64, at(100 + entry as u64));
        journal.held(at_second, Event::Waited { until, reason: "no answer".to_owned(), failures: 1 })
    })
}

#[test]
fn a_run_near_the_end_of_its_journal_is_abandoned_while_there_is_room_to_undo_what_it_did() {
    let limits = Limits { entries_max: 100, ..Limits::default() };
    let limit =
        |entries: u32| StopReason::LimitReached { limit: format!("journal of {entries} entries"), renews_at: None };
    let idle = || Journal::accepted(limits);
    grown(idle(), 75).decides(1_000, 1, Next::Plan);
    grown(idle(), 76).decides(1_000, 1, Next::Abandon(limit(76)));
    // Three entries earlier for a call that can be undone.
    let done = || {
        let value = json!({});
        let done = Journal::accepted(limits).attempted(Effect::Idempotent, true);
        done.returned(ToolOutcome::Succeeded { value })
    };
    grown(done(), 72).decides(1_000, 1, Next::Plan);
    let abandoned = grown(done(), 73);
    abandoned.decides(1_000, 1, Next::Abandon(limit(73)));
    let abandoned = abandoned.held(1_001, Event::Abandoned { reason: limit(73) });
    abandoned.decides(1_001, 1, Next::Compensate(CALL));
}

#[test]
fn a_run_at_the_end_of_its_journal_is_stopped_whatever_is_left_to_do() {
    let limits = Limits { entries_max: 100, ..Limits::default() };
    let attempts = |journal: Journal| {
        let first = journal.0.len() as u32;
        (first..84).fold(journal, |journal, entry| {
            let attempt = entry - first + 1;
            let deadline = at(60);
            journal.held(10, Event::CompensationAttempted { call: CALL, attempt, deadline })
        })
    };
    let journal = Journal::accepted(limits).attempted(Effect::Idempotent, true);
    let journal = attempts(journal.returned(ToolOutcome::Succeeded { value: json!({}) }).cancelled());
    journal.decides(1_000, 1, Next::Stop(StopReason::Cancelled));
    let state = RunState::fold(&journal.0).expect("it folds");
    assert_eq!(in_doubt(&state), [CALL], "what was being undone is listed");
    assert!(state.takes_from_outside());
    let stopped = Event::Stopped { reason: StopReason::Cancelled, standing: Vec::new(), in_doubt: vec![CALL] };
    let over = journal.held(1_001, stopped);
    over.decides(1_001, 1, Next::Nothing);
}

#[test]
fn a_run_whose_journal_has_grown_large_is_abandoned_and_one_with_an_answer_gives_it() {
    use crate::run::state::JOURNAL_BYTES_MAX;
    let mut state = RunState::fold(&fresh().0).expect("it folds");
    state.journal_bytes = JOURNAL_BYTES_MAX;
    assert!(matches!(decide(&state, at(1), 1), Next::Abandon(StopReason::LimitReached { .. })));
    state.phase = Phase::Answering { response: json!({}) };
    state.seq = state.limits.entries_max;
    assert_eq!(decide(&state, at(1), 1), Next::Respond);
}

#[test]
fn faults_that_take_turns_to_hold_a_run_do_not_grow_its_journal() {
    use crate::run::{entry::HeldBy, state::HOLD_ENTRIES_MAX};
    let mut journal = fresh();
    for second in 0..1_000 {
        let by = [HeldBy::Controls, HeldBy::Prompt, HeldBy::Switch][second as usize % 3];
        let reason = format!("fault {second}");
        let state = RunState::fold(&journal.0).expect("it folds");
        if state.held.is_none_or(|held| held.is_news(by, &reason)) {
            journal = journal.held(second, Event::Held { reason, controls: 1, by });
        }
    }
    assert_eq!(journal.0.len(), 1 + HOLD_ENTRIES_MAX);
    let since = RunState::fold(&journal.0).expect("it folds").held.expect("it is held").since;
    assert_eq!(since, at(0), "it is held since the first");
}

#[test]
fn what_does_not_follow_is_refused() {
    let answered = |verdict| Event::ApprovalDecided {
        approval: approval(),
        verdict,
        by: None,
        note: None,
        result: None,
        signature: None,
    };
    let attempt = |attempt| Event::ToolAttempted {
        call: CALL,
        attempt,
        effect: Effect::Irreversible,
        compensable: false,
        deadline: at(60),
    };
    for (why, journal) in [
        ("an attempt before the policy", fresh().planned(1).held(2, attempt(1))),
        ("an attempt before the approval", fresh().asked(None).held(3, attempt(1))),
        (
            "a second attempt of what cannot be repeated",
            fresh().attempted(Effect::Irreversible, false).held(4, attempt(2)),
        ),
        ("attempts out of order", fresh().allowed().held(3, attempt(2))),
        ("an attempt in a cancelled run", fresh().allowed().cancelled().held(6, attempt(1))),
        ("an approval that has expired", fresh().asked(None).held(1_000, answered(Verdict::Approved))),
        ("an expiry before its time", fresh().asked(None).held(999, answered(Verdict::Expired))),
        ("an answer to another question", fresh().asked(None).held(3, answered(Verdict::Happened))),
        (
            "a second answer",
            fresh().asked(None).held(3, answered(Verdict::Denied)).held(4, answered(Verdict::Approved)),
        ),
        ("an outcome without an attempt", fresh().allowed().returned(ToolOutcome::Absent)),
        ("a response that was not planned", fresh().held(1, Event::Responded { response: json!(1) })),
        ("a replay of a living run", {
            let by = "ops".parse().expect("an actor");
            fresh().held(1, Event::Replayed { by, plan: "p".to_owned() })
        }),
        ("calls numbered out of order", {
            let call = PlannedCall {
                id: CallId(2),
                tool: "t".parse().expect("a tool"),
                arguments: json!({}),
                redaction: Default::default(),
                echo: None,
            };
            fresh().held(1, planned(Plan::Call { calls: vec![call] }))
        }),
    ] {
        assert!(RunState::fold(&journal.0).is_err(), "{why} was accepted");
    }
}
