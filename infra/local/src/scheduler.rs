//! Schedules, as EventBridge Scheduler runs them: at least once, and never more than two firings of one schedule at a
//! time.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    time::MissedTickBehavior,
};

use crate::{
    clock::{self, Clock},
    function::InvokeError,
    identifier,
    lambda::{self, Target},
    pool::Patience,
    spec::ScheduleSpec,
};

/// Firings of one schedule at once; a further one is skipped.
const OVERLAP_MAX: usize = 2;

const SCHEDULED_TIME: &str = "<aws.scheduler.scheduled-time>";
const EXECUTION_ID: &str = "<aws.scheduler.execution-id>";

/// One schedule.
pub(crate) struct Schedule {
    pub(crate) spec: ScheduleSpec,
    pub(crate) target: Target,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Schedule {
    /// Fires until `stop`, unless `paused`. Firings that were missed are not made up for.
    pub(crate) async fn run(self: Arc<Self>, paused: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
        let running = Arc::new(Semaphore::new(OVERLAP_MAX));
        let every = self.spec.every.max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            if *paused.borrow() {
                continue;
            }
            let Ok(slot) = Arc::clone(&running).try_acquire_owned() else {
                tracing::warn!(schedule = self.spec.name, "the last firings are still running: skipped");
                continue;
            };
            let schedule = Arc::clone(&self);
            tokio::spawn(async move {
                if let Ok(event) = schedule.event() {
                    lambda::invoke_with_retries(&schedule.target, &event).await;
                }
                drop(slot);
            });
        }
    }

    /// Invokes once and returns what the function returned.
    pub(crate) async fn fire(&self) -> Result<Bytes, InvokeError> {
        self.target.invoke(self.event()?, Patience::Endless).await
    }

    fn event(&self) -> Result<Bytes, InvokeError> {
        let time = clock::written_to_the_second(self.clock.since_epoch());
        let event = filled(&self.spec.input, &time, &identifier::uuid());
        serde_json::to_vec(&event)
            .map(Bytes::from)
            .map_err(|error| InvokeError::Malformed { message: error.to_string() })
    }
}

/// The input with its placeholders replaced, wherever they are in its strings.
fn filled(input: &Value, time: &str, id: &str) -> Value {
    match input {
        Value::String(text) => Value::String(text.replace(SCHEDULED_TIME, time).replace(EXECUTION_ID, id)),
        Value::Array(values) => values.iter().map(|value| filled(value, time, id)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), filled(value, time, id))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_replaced_everywhere() {
        let input = json!({ "time": SCHEDULED_TIME, "detail": [{ "id": format!("run-{EXECUTION_ID}") }], "n": 1 });
        let expected = json!({ "time": "T", "detail": [{ "id": "run-I" }], "n": 1 });
        assert_eq!(filled(&input, "T", "I"), expected);
    }
}
