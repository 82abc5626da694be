//! W3C trace context for whatever a run calls (<https://www.w3.org/TR/trace-context/#traceparent-header>).

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{
    agent::tool::CallContext,
    ids::{CallId, RunId, TraceId},
};

/// The id of one span. It follows from what the span is about, so that every process gives it the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl SpanId {
    /// The span of a whole run.
    pub fn of_run(run: RunId) -> SpanId {
        SpanId::of(&run.to_string())
    }

    /// The span of one question to the model; `steps` were asked before.
    pub fn of_step(run: RunId, steps: u32) -> SpanId {
        SpanId::of(&format!("{run} step {steps}"))
    }

    /// The span of one call, all its attempts together.
    pub fn of_call(run: RunId, call: CallId) -> SpanId {
        SpanId::of(&format!("{run} call {call}"))
    }

    fn of(what: &str) -> SpanId {
        let digest = Sha256::digest(what.as_bytes());
        let bits = digest.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        // All zero is no span id.
        SpanId(bits.max(1))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a tool or a model's provider is told, to go on with the run's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The run's trace.
    pub trace: TraceId,
    /// The span that calls.
    pub span: SpanId,
}

impl TraceContext {
    /// The value of a `traceparent` header. Runs are recorded, so the sampled flag is set.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }
}

impl CallContext {
    /// What to tell whoever the tool calls.
    pub fn trace_context(&self) -> TraceContext {
        TraceContext { trace: self.trace, span: SpanId::of_call(self.run, self.call) }
    }
}
