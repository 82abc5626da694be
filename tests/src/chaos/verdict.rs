//! What the journal of a run says was done, beside what the ledger says was done.

use std::collections::BTreeMap;

use serde_json::json;
use windlass::{
    approval::Subject,
    clock::Timestamp,
    ids::CallId,
    run::{
        entry::{Entry, Event, ToolOutcome},
        state::{CallStatus, Phase, RunState},
    },
};
use windlass_operator::{
    aws_endpoint::{AwsEndpoint, EndpointError},
    stack::{DESK_TABLE, TENANT},
};

/// What the ledger says of one order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Refunds that stand.
    pub refunds: usize,
    /// Keys under which refunds were asked for, reversed ones included.
    pub refund_keys: usize,
    /// Letters.
    pub letters: usize,
}

impl Ledger {
    /// Of one order.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn of(aws: &AwsEndpoint, order: &str) -> Result<Ledger, EndpointError> {
        let body = json!({
            "TableName": DESK_TABLE,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": format!("{TENANT}#{order}") } },
            "ConsistentRead": true,
        });
        let answer = aws.call("DynamoDB_20120810.Query", &body).await?;
        let mut ledger = Ledger::default();
        for item in answer["Items"].as_array().into_iter().flatten() {
            let kind = item["sk"]["S"].as_str().unwrap_or_default();
            let is_refund = kind.starts_with("refund#");
            ledger.refund_keys += usize::from(is_refund);
            ledger.refunds += usize::from(is_refund && item.get("reversed").is_none());
            ledger.letters += usize::from(kind.starts_with("letter#"));
        }
        Ok(ledger)
    }
}

/// What came of one run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How it ended.
    pub outcome: String,
    /// It completed with a refund and a letter.
    pub did_both: bool,
    /// Calls that failed: not permitted, or unavailable for all their attempts.
    pub failed_calls: usize,
    /// Intents in its journal.
    pub intents: usize,
    /// Effects that it claims and that are not there.
    pub lost: usize,
    /// Effects beyond the first.
    pub duplicated: usize,
    /// Effects that it denies and that are there.
    pub denied: usize,
    /// Calls of which a person was asked whether they took effect.
    pub doubts: usize,
    /// Those of them that it could have known, or could not ask about yet.
    pub wrong_doubts: usize,
}

impl Verdict {
    /// Whether the journal and the ledger agree.
    pub const fn is_sound(&self) -> bool {
        self.lost + self.duplicated + self.denied + self.wrong_doubts == 0
    }
}

/// Judges a run by its journal and by the ledger.
///
/// # Panics
/// When the journal does not fold, or is not over.
pub fn judge(entries: &[Entry], ledger: Ledger) -> Verdict {
    crate::simulation::order::check(entries);
    let state = RunState::fold(entries).expect("the journal folds");
    let Phase::Finished(end) = &state.phase else { panic!("the run is not over: {entries:?}") };
    let mut verdict = Verdict { outcome: end.reason.word().to_owned(), ..doubts(entries) };
    let mut unclaimed = BTreeMap::from([("refund", ledger.refunds), ("write_to_customer", ledger.letters)]);
    for call in &state.calls {
        let Some(done) = unclaimed.remove(call.tool.as_str()) else { continue };
        verdict.duplicated += done.saturating_sub(1);
        match &call.status {
            CallStatus::Succeeded { .. } | CallStatus::Standing { .. } => verdict.lost += usize::from(done == 0),
            CallStatus::Attempted { .. }
            | CallStatus::Uncertain
            | CallStatus::InDoubt(_)
            | CallStatus::Doubtful { .. }
            | CallStatus::Compensating { .. } => {}
            other => {
                verdict.failed_calls += usize::from(matches!(other, CallStatus::Failed { .. }));
                verdict.denied += usize::from(done > 0);
            }
        }
    }
    verdict.duplicated += ledger.refund_keys.saturating_sub(1);
    verdict.denied += unclaimed.into_values().sum::<usize>();
    verdict.did_both = verdict.outcome == "completed" && (ledger.refunds, ledger.letters) == (1, 1);
    verdict
}

/// Counts intents and the questions that rightly follow an intent without an outcome: once its holder was dead for certain, or when its
/// outcome is that nobody knows.
fn doubts(entries: &[Entry]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut open: BTreeMap<CallId, Timestamp> = BTreeMap::new();
    for (at, event) in entries.iter().flat_map(|entry| entry.events.iter().map(|event| (entry.at, event))) {
        match event {
            Event::ToolAttempted { call, deadline, .. } => {
                verdict.intents += 1;
                open.insert(*call, *deadline);
            }
            // Whatever clocks say, which jump: it comes before the question.
            Event::ToolReturned { call, outcome: ToolOutcome::Unknown { .. }, .. } => {
                open.insert(*call, Timestamp::from_millis(0));
            }
            Event::ToolReturned { call, .. } => drop(open.remove(call)),
            Event::ApprovalRequested(request) if request.subject == Subject::Doubt => {
                verdict.doubts += 1;
                let rightly = open.get(&request.id.call).is_some_and(|settled| *settled <= at);
                verdict.wrong_doubts += usize::from(!rightly);
            }
            _ => {}
        }
    }
    verdict
}
