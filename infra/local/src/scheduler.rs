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
    function::InvokeError,
    identifier,
    pool::{Patience, Pool},
    spec::ScheduleSpec,
};

/// Firings of one schedule at once; a further one is skipped.
const OVERLAP_MAX: usize = 2;

/// Retries of a failed asynchronous invocation.
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>
const RETRIES_MAX: u32 = 2;

/// The wait before the first retry; it doubles. Lambda waits a minute, which helps nobody on one machine.
const RETRY_WAIT: Duration = Duration::from_millis(200);

const SCHEDULED_TIME: &str = "<aws.scheduler.scheduled-time>";
const EXECUTION_ID: &str = "<aws.scheduler.execution-id>";

/// One schedule.
pub(crate) struct Schedule {
    pub(crate) spec: ScheduleSpec,
    pub(crate) pool: Arc<Pool>,
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
                schedule.fire_with_retries().await;
                drop(slot);
            });
        }
    }

    /// Invokes once and returns what the function returned.
    pub(crate) async fn fire(&self) -> Result<Bytes, InvokeError> {
        self.pool.invoke(self.event()?, Patience::Endless).await
    }

    async fn fire_with_retries(&self) {
        let Ok(event) = self.event() else { return };
        for attempt in 0..=RETRIES_MAX {
            match self.pool.invoke(event.clone(), Patience::Endless).await {
                Ok(_) | Err(InvokeError::ShuttingDown) => return,
                Err(error) => tracing::warn!(schedule = self.spec.name, attempt, %error, "a firing failed"),
            }
            if attempt < RETRIES_MAX {
                tokio::time::sleep(RETRY_WAIT * 2u32.pow(attempt)).await;
            }
        }
    }

    fn event(&self) -> Result<Bytes, InvokeError> {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
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
