//! Noticing that runs are over by what the workers tell, so that whoever measures asks the store for nothing.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use windlass::{
    ids::RunId,
    telemetry::event::{Body, TelemetryEvent},
};

use super::{BenchError, STUCK_AFTER, unexpected};
use crate::functions::checkout;

/// How often the reader looks: what an end is noticed too late by.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Runs that are over, and whoever waits for others.
#[derive(Default)]
struct Seen {
    over: HashSet<RunId>,
    waiting: HashMap<RunId, oneshot::Sender<()>>,
}

/// The reader.
pub(super) struct Ends {
    seen: Arc<Mutex<Seen>>,
    reader: JoinHandle<()>,
}

/// An empty folder for the functions' output.
pub(super) fn folder() -> Result<PathBuf, BenchError> {
    let folder = checkout().join("target").join("bench-logs");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl Ends {
    /// Starts reading what the workers write to `folder`.
    pub(super) fn told_in(folder: &Path) -> Result<Ends, BenchError> {
        let seen = Arc::<Mutex<Seen>>::default();
        let lines = File::open(folder.join("step.log"))?;
        let reader = tokio::spawn(read(lines, Arc::clone(&seen)));
        Ok(Ends { seen, reader })
    }

    /// Waits until a run is over.
    pub(super) async fn of_run(&self, run: RunId) -> Result<(), BenchError> {
        let is_over = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.over.contains(&run) {
                return Ok(());
            }
            let (over, is_over) = oneshot::channel();
            seen.waiting.insert(run, over);
            is_over
        };
        let ended = timeout(STUCK_AFTER, is_over).await;
        ended.map_err(|_| unexpected(format!("run {run} does not get on")))?.map_err(|_| unexpected("nobody looks"))
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut lines: File, seen: Arc<Mutex<Seen>>) {
    let mut pending = Vec::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // What cannot be read now is there the next time.
        let _ = lines.read_to_end(&mut pending);
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        let whole: Vec<u8> = pending.drain(..=end).collect();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for run in String::from_utf8_lossy(&whole).lines().filter_map(ended) {
            seen.over.insert(run);
            if let Some(waiting) = seen.waiting.remove(&run) {
                let _ = waiting.send(());
            }
        }
    }
}

/// Which run a line says has ended.
fn ended(line: &str) -> Option<RunId> {
    let event = line.contains("\"ended\"").then(|| TelemetryEvent::parse(line))??;
    matches!(event.body, Body::Run(of) if of.status == "ended").then_some(event.envelope.run_id)
}
