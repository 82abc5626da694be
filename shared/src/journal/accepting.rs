//! Taking on a run: one conditional write after the other, each of which may be the last that its process makes.

use super::{Appended, Head, HeadStatus, Journal, JournalError, RESCUE_AFTER};
use crate::{
    clock::Timestamp,
    controls::admit::Admitted,
    idempotency::{Key, PayloadHash},
    ids::RunId,
    run::{
        entry::{Entry, Event},
        stored::Stored,
    },
};

/// The most bytes of a head that carries its first entry: one write unit
/// (1 KB, <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>), as every claim, renewal
/// and leave writes the whole head. A larger first entry is an item of its own.
pub const HEAD_BYTES_MAX: usize = 1024;

/// The bytes of a head without its names and its first entry while it is held: the attributes' names, the id, times, numbers and the lease
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>). Rounded up from 298; the
/// conformance suite holds the two to what the store counts.
const HEAD_OWN_BYTES: usize = 312;

/// Everything that taking on a run writes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// The run.
    pub run: RunId,
    /// Under which the client may repeat its request.
    pub key: Key,
    /// Of the request, so that the key is not reused for another.
    pub payload_hash: PayloadHash,
    /// Until when a repetition is recognised.
    pub key_expires: Timestamp,
    /// When the run's items may be deleted, though not before `key_expires`: a repetition that found no run would take it on again.
    pub expires: Timestamp,
    /// The first entry.
    pub entry: Entry,
    /// By which controls it was let in, if they were asked.
    pub admitted: Option<Admitted>,
}

impl NewRun {
    /// The head that is written with the run: ready now, due after [`RESCUE_AFTER`], with the first entry if that is small enough,
    /// compressed if need be.
    ///
    /// # Errors
    /// When the first entry is anything but one acceptance, or too large to be stored at all.
    pub fn head(&self) -> Result<Head, JournalError> {
        let [Event::Accepted(accepted)] = self.entry.events.as_slice() else {
            return Err(JournalError::Refused { message: "a journal starts with one `accepted`".to_owned() });
        };
        let request = &accepted.request;
        let mut head = Head {
            run: self.run,
            tenant: request.tenant.clone(),
            actor: request.actor.clone(),
            task: request.task.to_string(),
            release: self.entry.release.clone(),
            created: self.entry.at,
            status: HeadStatus::Ready,
            due: Some(self.entry.at + RESCUE_AFTER),
            ready_from: Some(self.entry.at),
            epoch: 0,
            strikes: 0,
            interjections: 0,
            lease: None,
            expires: self.expires.max(self.key_expires).whole_second(),
            first: None,
            admitted: self.admitted,
        };
        let room = HEAD_BYTES_MAX.saturating_sub(head.bytes());
        let first = Stored::encode(&self.entry)?;
        let first = if first.body.len() <= room { first } else { first.compressed() };
        head.first = (first.body.len() <= room).then_some(first);
        Ok(head)
    }
}

impl Head {
    /// About how large it is while it is held, without a first entry. The tenant is in it three times, the actor twice.
    fn bytes(&self) -> usize {
        let names = 3 * self.tenant.as_str().len() + 2 * self.actor.as_str().len() + self.task.len();
        HEAD_OWN_BYTES + names + self.release.as_str().len()
    }

    /// Whether it was opened for the request that `other` would open it for.
    fn answers_as(&self, other: &Head) -> bool {
        (&self.tenant, &self.actor, &self.task) == (&other.tenant, &other.actor, &other.task)
    }
}

/// What came of taking on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// It is new, and its first entry is the caller's.
    Created {
        /// The run: the caller's, or one that somebody recorded under the key and did not live to open.
        run: RunId,
    },
    /// The same request was taken on before, or somebody else has just done so.
    Repeated {
        /// As this run.
        run: RunId,
    },
    /// The key was used for another request.
    Mismatch,
    /// Somebody is working under the key.
    InProgress,
}

/// What is recorded under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The same request, as this run. Whether the run was opened is another question.
    As {
        /// The run.
        run: RunId,
    },
    /// Another request.
    Mismatch,
    /// Somebody is working under it.
    InProgress,
}

/// What came of opening a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Its head is there.
    Written,
    /// It had been opened, perhaps by an earlier try of this write whose answer was lost: its head as it is.
    Taken(Box<Head>),
}

/// What [`Journal::accept`] does.
pub(super) async fn accept<J: Journal + ?Sized>(journal: &J, new: &NewRun) -> Result<Acceptance, JournalError> {
    let mut head = new.head()?;
    match journal.record(new).await? {
        None => {}
        Some(Recorded::Mismatch) => return Ok(Acceptance::Mismatch),
        Some(Recorded::InProgress) => return Ok(Acceptance::InProgress),
        Some(Recorded::As { run }) => match journal.opened(run).await? {
            Some(there) if there.answers_as(&head) => return Ok(Acceptance::Repeated { run }),
            Some(_) => return Err(there_already(run)),
            None => head.run = run,
        },
    }
    open(journal, new, head).await
}

/// Opens a run that nobody has opened yet, as far as the caller knows.
///
/// A first entry that the head does not carry is appended before: no head is ever without its first entry. So one may be there
/// without a head, and then that one is opened.
///
/// ```text
/// A: append 1 of A IF absent ── written ── †
/// B: append 1 of A IF absent ── taken: A's ── open A IF absent ── written ──► run A again, with A's entry
/// ```
async fn open<J: Journal + ?Sized>(journal: &J, new: &NewRun, head: Head) -> Result<Acceptance, JournalError> {
    let run = head.run;
    let mine = head.first.is_some() || is_first(journal, new, &head).await?;
    let head = if mine { head } else { head_of_first(journal, new, run).await? };
    let opened = journal.open(&head).await?;
    let by_me = match &opened {
        Opened::Written => mine,
        Opened::Taken(there) if there.answers_as(&head) => mine && there.first == head.first,
        Opened::Taken(_) => return Err(there_already(run)),
    };
    Ok(if by_me { Acceptance::Created { run } } else { Acceptance::Repeated { run } })
}

/// Appends the first entry; whether it has the place.
async fn is_first<J: Journal + ?Sized>(journal: &J, new: &NewRun, head: &Head) -> Result<bool, JournalError> {
    Ok(journal.append(head.run, 1, &new.entry, head.expires).await? == Appended::Written)
}

/// The head for the first entry that somebody else appended to `run`; it is kept as long as that.
async fn head_of_first<J: Journal + ?Sized>(journal: &J, new: &NewRun, run: RunId) -> Result<Head, JournalError> {
    let entry = journal.page(run, 1, 1).await?.entries.into_iter().next().ok_or(JournalError::Missing { run })?;
    let as_of_then = |until: Timestamp| entry.at + until.since(new.entry.at);
    let (key_expires, expires) = (as_of_then(new.key_expires), as_of_then(new.expires));
    NewRun { run, key_expires, expires, entry, ..new.clone() }.head()
}

fn there_already(run: RunId) -> JournalError {
    JournalError::Refused { message: format!("there is a run `{run}` already") }
}
