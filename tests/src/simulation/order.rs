//! No side effect before its policy decision and its approval: read off a journal.

use std::collections::BTreeSet;

use windlass::{
    agent::tool::Effect,
    approval::Verdict,
    run::entry::{Decision, Entry, Event},
};

/// Checks the order of events in a journal.
///
/// # Panics
/// When a side effect was attempted without leave.
pub fn check(entries: &[Entry]) {
    let (mut judged, mut permitted, mut denied) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut ended = false;
    for event in entries.iter().flat_map(|entry| &entry.events) {
        match event {
            Event::PolicyDecided { call, decision, .. } => {
                judged.insert(*call);
                match decision {
                    Decision::Allow { .. } => drop(permitted.insert(*call)),
                    Decision::Deny { .. } => drop(denied.insert(*call)),
                    Decision::RequireApproval { .. } => {}
                }
            }
            Event::ApprovalDecided { approval, verdict, .. } => match verdict {
                Verdict::Approved | Verdict::NotHappened => drop(permitted.insert(approval.call)),
                Verdict::Denied | Verdict::Expired | Verdict::Happened | Verdict::HappenedAndFailed => {
                    denied.insert(approval.call);
                }
            },
            Event::ToolAttempted { call, effect, .. } if *effect != Effect::Read => {
                assert!(judged.contains(call), "call {call} was attempted before it was judged");
                assert!(permitted.contains(call), "call {call} was attempted without leave");
                assert!(!denied.contains(call), "call {call} was attempted although denied");
                assert!(!ended, "call {call} was attempted after the run was given up");
            }
            Event::Cancelled { .. } | Event::Abandoned { .. } | Event::Stopped { .. } => ended = true,
            Event::Replayed { .. } => ended = false,
            _ => {}
        }
    }
}
