//! What must hold at every moment, whatever went wrong.

use std::sync::PoisonError;

use windlass::{
    clock::{CLOCK_SKEW_MAX, Clock as _},
    ids::RunId,
    journal::{Head, HeadStatus, Journal as _},
    run::{
        entry::{Entry, Writer},
        next::{Next, decide},
        state::{Call, CallStatus, Phase, RunState},
    },
};

use super::{
    faulty::show,
    order,
    world::{World, now},
};

impl World {
    /// Checks everything that must hold at every moment.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_invariants(&self, run: RunId) {
        let entries = self.entries(run);
        let state = match RunState::fold(&entries) {
            Ok(state) => state,
            Err(error) => panic!("the journal does not fold: {error}\n{}", show(&entries)),
        };
        let head = self.head(run).expect("a run that a client was told of has a head");
        self.check_prefix(&entries);
        self.check_head(&head, &state, &entries);
        self.check_effects(&state, &entries);
        if let Some(snapshot) = now(self.runs.snapshot(run)).expect("the store in memory does not fail") {
            let folded = RunState::fold(&entries[..snapshot.seq as usize]).expect("what was folded before folds");
            assert_eq!(snapshot, folded, "a snapshot is not what its entries are\n{}", show(&entries));
        }
        let most = self.manner.entries_max as usize;
        assert!(entries.len() <= most, "{} entries of at most {most}\n{}", entries.len(), show(&entries));
        order::check(&entries);
    }

    /// What was in the journal stays there: one entry per place.
    fn check_prefix(&self, entries: &[Entry]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(entries.starts_with(&seen), "an entry was replaced\n{}\nwas\n{}", show(entries), show(&seen));
        let known = seen.len();
        seen.extend_from_slice(&entries[known..]);
    }

    fn check_head(&self, head: &Head, state: &RunState, entries: &[Entry]) {
        assert!(head.status.is_over() || head.due.is_some(), "an unfinished run without a due time");
        assert_eq!(head.interjections, state.interjections, "the head and the journal count interjections alike");
        match (&head.status, &state.phase) {
            (HeadStatus::Finished { outcome }, Phase::Finished(end)) => assert_eq!(outcome, end.reason.word()),
            (HeadStatus::Finished { .. } | HeadStatus::Dead { .. }, phase) => {
                assert!(matches!(phase, Phase::Finished(_)), "the head is over, the journal is not\n{}", show(entries));
            }
            _ => {}
        }
        let unheard = entries.len() > 1 && entries.last().is_some_and(|last| matches!(last.writer, Writer::Outside(_)));
        let latest = self.clock.now() + CLOCK_SKEW_MAX;
        let asleep = head.lease.is_none() && head.ready_from.is_some_and(|from| from > latest);
        // One answer of several leaves nothing to do until the next one comes.
        let has_work = !matches!(decide(state, self.clock.now(), head.epoch), Next::Await { .. });
        assert!(
            !(unheard && asleep && has_work),
            "the run sleeps through what was said from outside\n{}",
            show(entries)
        );
    }

    /// What the journal says of effects is what the ledger says.
    fn check_effects(&self, state: &RunState, entries: &[Entry]) {
        let records = self.ledger.records();
        let (refunds, letters) = (records.refunds, records.letters.len());
        assert!(refunds.len() <= 1, "one refund under {} keys", refunds.len());
        assert!(letters <= 1, "{letters} letters");
        let refunded = refunds.values().any(Option::is_some);
        let check = |tool: &str, stands: bool| {
            let calls: Vec<&Call> = state.calls.iter().filter(|call| call.tool.as_str() == tool).collect();
            let attempted = calls.iter().any(|call| call.attempts > 0);
            assert!(!stands || attempted, "`{tool}` took effect without an intent\n{}", show(entries));
            for call in calls {
                let lie = match call.status {
                    CallStatus::Succeeded { .. } => !stands && call.approvals == 0,
                    CallStatus::Proposed
                    | CallStatus::Allowed { .. }
                    | CallStatus::AwaitingApproval(_)
                    | CallStatus::Failed { .. }
                    | CallStatus::Compensated => stands,
                    _ => false,
                };
                assert!(!lie, "`{tool}` is {:?}, but stands: {stands}\n{}", call.status, show(entries));
            }
        };
        check("refund", refunded);
        check("write_to_customer", letters > 0);
    }
}
