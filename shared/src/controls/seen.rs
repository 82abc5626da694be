//! What a process has read of the controls, so that a version which it knows need not be read again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Document;

/// The newest document that a process has read. A version never changes, so knowing one is as good as reading it.
#[derive(Debug, Default)]
pub struct Seen {
    newest: Mutex<Option<Arc<Document>>>,
}

impl Seen {
    /// Takes note of a document that was read.
    pub fn note(&self, document: &Arc<Document>) {
        let mut newest = self.lock();
        if newest.as_ref().is_none_or(|known| known.version < document.version) {
            *newest = Some(Arc::clone(document));
        }
    }

    /// The document of a version, if that is the newest seen.
    pub fn version(&self, version: u64) -> Option<Arc<Document>> {
        self.lock().as_ref().filter(|known| known.version == version).cloned()
    }

    /// The newest document seen, if there is one. There may be a newer one.
    pub fn newest(&self) -> Option<Arc<Document>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Document>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
