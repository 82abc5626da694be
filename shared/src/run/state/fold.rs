//! A journal's entries, one after the other.

use std::collections::BTreeSet;

use super::{IllegalEntry, Phase, RunState, Totals, Trouble};
use crate::run::entry::{Accepted, Entry, Event, Writer};

impl RunState {
    /// The state after all of `entries`, which start at 1.
    ///
    /// # Errors
    /// The first entry that does not follow; an empty journal is one too.
    pub fn fold(entries: &[Entry]) -> Result<RunState, IllegalEntry> {
        let [first, rest @ ..] = entries else {
            return Err(IllegalEntry { seq: 1, problem: "the journal is empty".to_owned() });
        };
        rest.iter().try_fold(RunState::accept(first)?, RunState::apply)
    }

    /// The state after a journal's first entry.
    ///
    /// # Errors
    /// When the entry is anything but one acceptance.
    pub fn accept(first: &Entry) -> Result<RunState, IllegalEntry> {
        let [Event::Accepted(accepted)] = first.events.as_slice() else {
            return Err(IllegalEntry { seq: 1, problem: "a journal starts with one `accepted`".to_owned() });
        };
        let Accepted { request, trace, limits, source, person, suspected, .. } = accepted.as_ref().clone();
        Ok(RunState {
            seq: 1,
            request,
            trace,
            limits,
            accepted_at: first.at,
            phase: Phase::Planning,
            calls: Vec::new(),
            totals: Totals::default(),
            abandoned: None,
            appended_at: first.at,
            progress_epoch: 0,
            problem: None,
            trouble: Trouble::default(),
            held: None,
            prompt_version: None,
            interjections: 0,
            person,
            suspected,
            source,
            journal_bytes: json_bytes(first),
            last_holder: 0,
            undo_bytes: 0,
            unpriced: BTreeSet::new(),
        })
    }

    /// The state after one more entry.
    ///
    /// # Errors
    /// When the entry does not follow.
    pub fn apply(mut self, entry: &Entry) -> Result<RunState, IllegalEntry> {
        let seq = self.seq + 1;
        for event in &entry.events {
            self.note(event, &entry.writer, entry.at).map_err(|problem| IllegalEntry { seq, problem })?;
        }
        if entry.events.is_empty() {
            return Err(IllegalEntry { seq, problem: "an entry without events".to_owned() });
        }
        self.wrote(entry);
        Ok(self)
    }

    /// Counts an entry whose events have been taken in.
    pub fn wrote(&mut self, entry: &Entry) {
        (self.seq, self.appended_at) = (self.seq + 1, entry.at);
        self.journal_bytes += json_bytes(entry);
        match &entry.writer {
            Writer::Holder(epoch) => self.last_holder = self.last_holder.max(*epoch),
            Writer::Outside(_) => self.interjections += 1,
        }
    }
}

/// How many bytes of JSON an entry is.
fn json_bytes(entry: &Entry) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // As when it is stored: nothing in an entry can fail to be JSON.
    let _ = serde_json::to_writer(&mut count, entry);
    count.0
}
