//! Watching over a process until it ends.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::Pool;
use crate::{
    delivery::Delivery,
    logs::Readers,
    process::{self, Process},
};

/// A process with what is only needed when it ends.
pub(super) struct Watched {
    pub(super) process: Arc<Process>,
    pub(super) readers: Readers,
    pub(super) delivery: Delivery,
    /// Dropped last, which stops the process's Runtime API.
    pub(super) _stop: watch::Sender<bool>,
}

impl Watched {
    /// Enforces deadlines, and cleans up when the process has ended.
    pub(super) async fn watch_over(self, pool: Weak<Pool>, limit: Duration) {
        let process = self.process;
        let mut look_at = process.check(Instant::now(), limit);
        let status = loop {
            match timeout_at(look_at, process.ended()).await {
                Ok(status) => break status,
                Err(_) => look_at = process.check(Instant::now(), limit),
            }
        };
        if let Some(pool) = pool.upgrade() {
            pool.remove(&process);
        }
        if self.delivery.was_left_unread().await {
            process.give_back();
        }
        self.readers.drain().await;
        if let Some(failure) = process.bury(&process::describe(status)) {
            if let Some(pool) = pool.upgrade() {
                pool.note_failure(failure.clone());
            }
            process.report(failure);
        }
    }
}
