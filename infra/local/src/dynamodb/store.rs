//! The thread that owns the database.
//!
//! dynoxide serialises everything behind one lock and blocks while it works, so one thread does all of it: no worker of
//! the async runtime ever waits for the lock or for a disk.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

use dynoxide::Database;
use tokio::sync::oneshot;

/// How often expired items are looked for. A sweep reads every table that has a time to live, so it must be rare;
/// DynamoDB itself promises days. <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html>
const TTL_SWEEP_EVERY: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce(&Database) + Send>;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("cannot open the table store: {0}")]
    Open(String),
    /// A thread could not be started.
    #[error("cannot start the table store")]
    Thread(#[source] std::io::Error),
}

/// The store was closed, or failed at this very request.
#[derive(Debug)]
pub(crate) struct Stopped;

/// A handle on the thread.
pub(crate) struct Store {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    sweeper: Mutex<Option<mpsc::Sender<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens a database file, or one in memory.
    ///
    /// A file is written with SQLite's `synchronous = NORMAL`: what was acknowledged survives the death of this
    /// process; a power failure may take the last moments but never the consistency.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self, StoreError> {
        let database = match file {
            Some(path) => {
                let path = path.to_str().ok_or_else(|| StoreError::Open("the path is not UTF-8".into()))?;
                Database::new(path).and_then(|database| {
                    database.disable_bulk_loading()?;
                    Ok(database)
                })
            }
            None => Database::memory(),
        }
        .map_err(|error| StoreError::Open(error.to_string()))?;

        let (jobs, queue) = mpsc::channel::<Job>();
        let (sweeper, stop) = mpsc::channel::<()>();
        let swept = database.clone();
        let threads =
            vec![spawn("tables", move || work(&database, &queue))?, spawn("tables-ttl", move || sweep(&swept, &stop))?];
        Ok(Self { jobs: Mutex::new(Some(jobs)), sweeper: Mutex::new(Some(sweeper)), threads: Mutex::new(threads) })
    }

    /// Runs `work` on the store's thread, after everything that was asked before.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, result) = oneshot::channel();
        let job: Job = Box::new(move |database| {
            // The asker may have gone.
            let _ = reply.send(work(database));
        });
        match &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(jobs) => jobs.send(job).map_err(|_| Stopped)?,
            None => return Err(Stopped),
        }
        result.await.map_err(|_| Stopped)
    }

    /// Finishes what was asked and closes the database.
    pub(crate) async fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.sweeper.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().all(|thread| thread.join().is_ok())).await;
        if !matches!(joined, Ok(true)) {
            tracing::warn!("a thread of the table store panicked");
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new().name(name.into()).spawn(body).map_err(StoreError::Thread)
}

fn work(database: &Database, queue: &mpsc::Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        // A panic costs the request that met it, not the store.
        if catch_unwind(AssertUnwindSafe(|| job(database))).is_err() {
            tracing::error!("a request made the table store panic");
        }
    }
}

/// Sweeps on its own thread, where it lets waiting requests in between pages.
fn sweep(database: &Database, stop: &mpsc::Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(TTL_SWEEP_EVERY) {
        match database.sweep_ttl() {
            Ok(0) => {}
            Ok(deleted) => tracing::debug!(deleted, "expired items deleted"),
            Err(error) => tracing::warn!(%error, "cannot sweep expired items"),
        }
    }
}
