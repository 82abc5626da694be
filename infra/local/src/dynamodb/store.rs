//! Where the database does its work.
//!
//! dynoxide serialises everything behind one lock and blocks while it works. A database in a file works on a thread of its own, so
//! that no worker of the async runtime ever waits for a disk. One in memory answers within a tenth of a millisecond, which is about
//! what it takes to hand a request to another thread and the answer back: whoever asks does the work.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Mutex, PoisonError, RwLock,
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

use dynoxide::Database;
use tokio::sync::oneshot;

use crate::spec::Synchronous;

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

/// Who does what is asked.
enum Worker {
    /// Whoever asks.
    Asker(Database),
    /// A thread.
    Thread(mpsc::Sender<Job>),
}

/// A handle on the database.
pub(crate) struct Store {
    worker: RwLock<Option<Worker>>,
    sweeper: Mutex<Option<mpsc::Sender<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens a database file, or one in memory.
    pub(crate) fn open(file: Option<&Path>, synchronous: Synchronous) -> Result<Self, StoreError> {
        let database = match file {
            Some(path) => {
                let path = path.to_str().ok_or_else(|| StoreError::Open("the path is not UTF-8".into()))?;
                Database::new(path).and_then(|database| {
                    match synchronous {
                        // What SQLite does unless it is told otherwise.
                        Synchronous::Full => {}
                        // dynoxide's only way to say so; what it sets besides is SQLite's default.
                        Synchronous::Normal => database.disable_bulk_loading()?,
                    }
                    Ok(database)
                })
            }
            None => Database::memory(),
        }
        .map_err(|error| StoreError::Open(error.to_string()))?;

        let (sweeper, stop) = mpsc::channel::<()>();
        let swept = database.clone();
        let mut threads = vec![spawn("tables-ttl", move || sweep(&swept, &stop))?];
        let worker = match file {
            None => Worker::Asker(database),
            Some(_) => {
                let (jobs, queue) = mpsc::channel::<Job>();
                threads.push(spawn("tables", move || work(&database, &queue))?);
                Worker::Thread(jobs)
            }
        };
        Ok(Self { worker: RwLock::new(Some(worker)), sweeper: Mutex::new(Some(sweeper)), threads: Mutex::new(threads) })
    }

    /// Runs `work` on the database. On its thread that is after everything that was asked before.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let result = match &*self.worker.read().unwrap_or_else(PoisonError::into_inner) {
            None => return Err(Stopped),
            Some(Worker::Asker(database)) => return guarded(|| work(database)),
            Some(Worker::Thread(jobs)) => {
                let (reply, result) = oneshot::channel();
                let job: Job = Box::new(move |database| {
                    // The asker may have gone.
                    let _ = reply.send(work(database));
                });
                jobs.send(job).map_err(|_| Stopped)?;
                result
            }
        };
        result.await.map_err(|_| Stopped)
    }

    /// Finishes what was asked and closes the database.
    pub(crate) async fn close(&self) {
        drop(self.worker.write().unwrap_or_else(PoisonError::into_inner).take());
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
        let _ = guarded(|| job(database));
    }
}

/// A panic costs the request that met it, not the store.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Stopped> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        tracing::error!("a request made the table store panic");
        Stopped
    })
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
