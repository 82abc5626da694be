//! Telemetry: what the kit says of its runs, one JSON object a line on standard output, where Lambda hands it to CloudWatch Logs.
//!
//! Everything is derived from journal entries in one place, [`Teller`]: whoever writes to a journal hands it each event with the state
//! that it happens to, and the entry once its write has succeeded, and only then. So what is told is what is in the journal, a repeated
//! write tells nothing twice, and telling costs no write to any store and keeps no payload, argument or answer. A process that dies
//! between a write and its telling, or never learns that it wrote, leaves a line out; the journal has it all the same. Numbers of steps
//! are gathered until their run is left ([`metrics`]): they are lost with a process that dies before, events are not.
//!
//! Two kinds of lines come of an entry: [events](event::TelemetryEvent) (`docs/events.schema.json`) and [metrics](metrics) in
//! CloudWatch's embedded metric format. Both are [redacted](crate::redaction).

use std::{
    io::Write as _,
    sync::{Mutex, PoisonError},
};

pub mod event;
mod gathered;
pub mod metrics;
mod narrative;
mod teller;
mod timings;
mod trace_context;
mod watched;

pub(crate) use narrative::Observed;
pub use narrative::{Narrative, Narrator};
pub use teller::Teller;
pub use trace_context::{SpanId, TraceContext};

/// Where lines go. Telling never fails a run: what cannot be written is lost.
pub trait Telemetry: Send + Sync {
    /// Writes lines that belong together; none has a line break in it.
    fn lines(&self, lines: &[String]);
}

/// Lines on standard output.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandardOutput;

impl Telemetry for StandardOutput {
    fn lines(&self, lines: &[String]) {
        // One write, so that lines of several threads do not mix, and a step does not wait for the system once a line.
        let mut whole = lines.join("\n");
        whole.push('\n');
        let _ = std::io::stdout().lock().write_all(whole.as_bytes());
    }
}

/// Lines kept, for tests.
#[derive(Debug, Default)]
pub struct Collected(Mutex<Vec<String>>);

impl Collected {
    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Telemetry for Collected {
    fn lines(&self, lines: &[String]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(lines);
    }
}

#[cfg(test)]
mod tests;
