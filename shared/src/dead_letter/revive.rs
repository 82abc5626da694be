//! Setting one dead letter going again.

use std::time::Duration;

use super::replay::Replay;
use crate::{
    ids::{RunId, Tenant},
    journal::{Expected, Interjected, JournalError},
    queue::{DeadMessage, InvalidMessage, Message, QueueError, Share},
    retry::Retry,
    run::{
        entry::{Entry, Event, StopReason, Writer},
        state::{IllegalEntry, Phase, RunState},
    },
};

/// How often an append is tried: somebody else may append first, or the store's answer may be lost.
const ATTEMPTS_MAX: u32 = 4;

/// The wait before trying again.
const ATTEMPT_WAIT: Duration = Duration::from_millis(200);

/// A dead letter could not be set going.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviveError {
    #[error("the run is not dead any more")]
    NotDead,
    #[error("run `{run}` kept changing")]
    Contended { run: RunId },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Foreign(#[from] InvalidMessage),
}

impl Replay<'_> {
    /// Records in a dead run's journal that it goes on, and wakes it. The wake-up may be lost: the run is due again.
    ///
    /// ```text
    /// A: put entry 9 `replayed` IF absent, head IF dead ── no answer
    /// A: the same, with the same mark                   ── there, and mine ──► written
    /// B: put entry 9 … (another plan)                   ── taken ──► reload: not dead any more
    /// ```
    pub(super) async fn revive_run(&self, run: RunId, plan: &str) -> Result<(), ReviveError> {
        let writer = Writer::Outside(format!("replay/{plan}/{run}"));
        for attempt in 1..=ATTEMPTS_MAX {
            let entries = self.journal.load(run, 1).await?;
            if !entries.iter().any(|entry| entry.writer == writer) {
                let state =
                    RunState::fold(&entries).map_err(|source: IllegalEntry| JournalError::Illegal { run, source })?;
                if !is_dead(&state) {
                    return Err(ReviveError::NotDead);
                }
                if !state.takes_from_outside() {
                    return Err(JournalError::Full { run }.into());
                }
                let entry = Entry {
                    at: self.trail.clock.now(),
                    writer: writer.clone(),
                    release: self.release.clone(),
                    events: vec![Event::Replayed { by: self.trail.by.clone(), plan: plan.to_owned() }],
                };
                match self.journal.interject(run, state.seq + 1, &entry, Expected::Dead).await {
                    Ok(Interjected::Written) => {}
                    Ok(Interjected::Unexpected) => return Err(ReviveError::NotDead),
                    Ok(Interjected::Taken) => {
                        self.wait(attempt).await;
                        continue;
                    }
                    Err(error) if error.retry() != Retry::Terminal && attempt < ATTEMPTS_MAX => {
                        self.wait(attempt).await;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let share = Share::from(tenant_of(&entries));
            if let Err(error) = self.wake_ups.send(&Message::WakeUp { run }, &share, Duration::ZERO).await {
                tracing::warn!(%run, %error, "the wake-up was not sent; the due index will find the run");
            }
            return Ok(());
        }
        Err(ReviveError::Contended { run })
    }

    /// Sends a message to the step queue again, then deletes it here. Between the two it exists twice, which is harmless: a
    /// wake-up carries nothing, and a request has its idempotency key. The run to watch, where the message names one.
    pub(super) async fn send_again(&self, message: &DeadMessage) -> Result<Option<RunId>, ReviveError> {
        let parsed = Message::parse(&message.body)?;
        let share = Share::from(match &parsed {
            // A run that nobody knows any more is woken all the same: the step function acknowledges the message.
            Message::WakeUp { run } => self.heads.head(*run).await.ok().flatten().map(|head| head.tenant),
            Message::Start { request, .. } => Some(request.tenant.clone()),
        });
        self.wake_ups.send(&parsed, &share, Duration::ZERO).await?;
        self.messages.delete(&message.receipt).await?;
        Ok(match parsed {
            Message::WakeUp { run } => Some(run),
            Message::Start { .. } => None,
        })
    }

    async fn wait(&self, attempt: u32) {
        self.trail.clock.sleep_until(self.trail.clock.now() + ATTEMPT_WAIT * attempt).await;
    }
}

/// Whose run it is, by its first entry.
fn tenant_of(entries: &[Entry]) -> Option<Tenant> {
    match entries.first()?.events.first()? {
        Event::Accepted(accepted) => Some(accepted.request.tenant.clone()),
        _ => None,
    }
}

fn is_dead(state: &RunState) -> bool {
    matches!(&state.phase, Phase::Finished(outcome) if matches!(outcome.reason, StopReason::Dead { .. }))
}
