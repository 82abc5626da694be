//! Journal entries as lines for people.

use windlass::{
    approval::Verdict,
    run::entry::{Decision, Entry, Event, Plan, Seq, StopReason, ToolOutcome, Writer},
    run::state::{Call, CallStatus},
};

use crate::table::cut;

/// The most characters of a text that is quoted in a line.
const QUOTED_CHARS_MAX: usize = 80;

/// One line for each event of an entry, the first with its place and time.
pub fn lines(seq: Seq, entry: &Entry) -> Vec<String> {
    let time = entry.at.to_string();
    let place = format!("{seq:>4}  {}  ", time.get(11..23).unwrap_or(&time));
    let place_of = |index: usize| if index == 0 { place.clone() } else { " ".repeat(place.len()) };
    entry.events.iter().enumerate().map(|(index, event)| place_of(index) + &describe(event)).collect()
}

/// The cells of one entry's line: place, time, writer, what happened.
pub fn cells(seq: Seq, entry: &Entry) -> [String; 4] {
    let events: Vec<String> = entry.events.iter().map(describe).collect();
    [seq.to_string(), entry.at.to_string(), writer(&entry.writer), events.join("; ")]
}

fn writer(writer: &Writer) -> String {
    match writer {
        Writer::Holder(epoch) => format!("claim {epoch}"),
        Writer::Outside(_) => "outside".to_owned(),
    }
}

/// One event in a few words.
pub fn describe(event: &Event) -> String {
    let quoted = |text: &str| cut(text, QUOTED_CHARS_MAX);
    match event {
        Event::Accepted(accepted) => {
            let request = &accepted.request;
            format!("accepted `{}` of {} for {}", request.task, request.actor, request.tenant)
        }
        Event::Planned { plan, .. } => match plan {
            Plan::Call { calls } => {
                let calls: Vec<String> = calls
                    .iter()
                    .map(|call| format!("{} {} (call {})", call.tool, quoted(&call.arguments.to_string()), call.id))
                    .collect();
                format!("planned {}", calls.join(", "))
            }
            Plan::Wait { until, .. } => format!("planned to wait until {until}"),
            Plan::Answer { .. } => "planned the answer".to_owned(),
            Plan::Malformed { problem } => format!("planned something unusable: {}", quoted(problem)),
        },
        Event::PolicyDecided { call, decision, .. } => match decision {
            Decision::Allow { reason } => format!("policy allows call {call}: {}", quoted(reason)),
            Decision::RequireApproval { role, reason } => {
                format!("policy wants `{role}` to approve call {call}: {}", quoted(reason))
            }
            Decision::Deny { reason } => format!("policy denies call {call}: {}", quoted(reason)),
        },
        Event::ApprovalRequested(request) => format!("asked {} for approval {}", request.role, request.id),
        Event::ApprovalDecided { approval, verdict, by, .. } => {
            let by = by.as_ref().map_or_else(|| "time".to_owned(), ToString::to_string);
            format!("approval {approval} {} by {by}", verdict_words(*verdict))
        }
        Event::ApprovalReminded { approval } => format!("approval {approval} is about to expire"),
        Event::ToolAttempted { call, attempt, .. } => format!("call {call}: attempt {attempt}"),
        Event::ToolReturned { call, outcome, .. } => format!("call {call}: {}", outcome_words(outcome)),
        Event::AnsweredFromCache { call, given_at, value, .. } => {
            format!("call {call}: answered by what was kept from {given_at}: {}", quoted(&value.to_string()))
        }
        Event::Unanswered { questions, reason, .. } => {
            format!("{questions} questions without an answer: {}", quoted(reason))
        }
        Event::Waited { until, reason, .. } => format!("waits until {until}: {}", quoted(reason)),
        Event::Held { reason, controls, .. } => format!("held: {reason} (controls v{controls})"),
        Event::Cancelled { by, reason } => {
            format!("cancelled by {by}: {}", quoted(reason.as_deref().unwrap_or("no reason given")))
        }
        Event::Abandoned { reason } => format!("abandoned: {}", stop_words(reason)),
        Event::CompensationAttempted { call, attempt, .. } => format!("call {call}: undoing, attempt {attempt}"),
        Event::Compensated { call, outcome, .. } => format!("call {call}: undoing {}", outcome_words(outcome)),
        Event::CompensationGivenUp { call, cause } => {
            format!("call {call}: undoing is given up: {}", quoted(cause))
        }
        Event::Responded { response } => format!("answered {}", quoted(&response.to_string())),
        Event::Evaluated { case, score, passed } => {
            format!("evaluated by {case}: {score} ({})", if *passed { "passed" } else { "failed" })
        }
        Event::Stopped { reason, .. } => format!("stopped: {}", stop_words(reason)),
        Event::Replayed { by, plan } => format!("replayed by {by} (plan {plan})"),
    }
}

const fn verdict_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approved => "approved",
        Verdict::Denied => "denied",
        Verdict::Happened => "happened",
        Verdict::HappenedAndFailed => "happened and failed",
        Verdict::NotHappened => "did not happen",
        Verdict::Expired => "expired",
    }
}

fn outcome_words(outcome: &ToolOutcome) -> String {
    let quoted = |text: &str| cut(text, QUOTED_CHARS_MAX);
    match outcome {
        ToolOutcome::Succeeded { value } => format!("succeeded {}", quoted(&value.to_string())),
        ToolOutcome::Refused { message } => format!("refused: {}", quoted(message)),
        ToolOutcome::Unavailable { message, .. } => format!("unavailable: {}", quoted(message)),
        ToolOutcome::Unknown { message, .. } => format!("unknown: {}", quoted(message)),
        ToolOutcome::Absent => "had not taken effect".to_owned(),
    }
}

/// Why a run is over, in words.
pub fn stop_words(reason: &StopReason) -> String {
    match reason {
        StopReason::Completed | StopReason::Cancelled => reason.word().to_owned(),
        StopReason::LimitReached { limit, .. } => format!("limit reached, {limit}"),
        StopReason::Failed { message } => format!("failed, {}", cut(message, QUOTED_CHARS_MAX)),
        StopReason::DoubtExpired { call } => format!("nobody said whether call {call} took effect"),
        StopReason::Dead { cause, .. } => format!("dead, {}", cut(cause, QUOTED_CHARS_MAX)),
    }
}

/// An effect that an abandoned run leaves, in words.
pub fn left(call: &Call) -> String {
    let what = match call.status {
        CallStatus::Standing { .. } | CallStatus::Succeeded { .. } => "stands",
        _ => "may stand",
    };
    let why = call.message().map_or_else(String::new, |message| format!(": {message}"));
    format!("call {} of `{}` {what}{why}", call.id, call.tool)
}
