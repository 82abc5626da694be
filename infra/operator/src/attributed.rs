//! Audit lines with whose credentials wrote them, beside the name that was typed: `--by` is anybody's word, the credentials are AWS's.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use windlass::{
    audit::AuditRecord,
    aws::clients::{Clients, UnknownCaller},
    controls::{Changed, Controls, ControlsError, Document, Initialised},
    dead_letter::{ItemStatus, Plan, PlanError, ReplayPlans},
};

/// Who the credentials belong to.
#[async_trait]
pub trait Caller: Send + Sync {
    /// As AWS names them, an ARN.
    async fn principal(&self) -> Result<String, UnknownCaller>;
}

/// The credentials of a command, asked about once, when something is to be written.
pub struct OfCredentials {
    clients: Clients,
    known: OnceCell<String>,
}

impl OfCredentials {
    /// Those of `clients`.
    pub fn new(clients: Clients) -> Self {
        Self { clients, known: OnceCell::new() }
    }
}

#[async_trait]
impl Caller for OfCredentials {
    async fn principal(&self) -> Result<String, UnknownCaller> {
        self.known.get_or_try_init(|| self.clients.caller()).await.cloned()
    }
}

/// A store that writes audit lines. Nothing is written when it is not known for whom.
pub struct Attributed<P: ?Sized> {
    /// The store.
    pub inner: Arc<P>,
    /// For whom.
    pub caller: Arc<dyn Caller>,
}

impl<P: ?Sized> Attributed<P> {
    async fn of(&self, record: &AuditRecord) -> Result<AuditRecord, UnknownCaller> {
        Ok(AuditRecord { principal: Some(self.caller.principal().await?), ..record.clone() })
    }
}

#[async_trait]
impl ReplayPlans for Attributed<dyn ReplayPlans> {
    async fn create(&self, plan: &Plan) -> Result<(), PlanError> {
        self.inner.create(plan).await
    }

    async fn plan(&self, id: &str) -> Result<Option<Plan>, PlanError> {
        self.inner.plan(id).await
    }

    async fn advance(&self, plan: &str, key: &str, seen: &ItemStatus, to: &ItemStatus) -> Result<bool, PlanError> {
        self.inner.advance(plan, key, seen, to).await
    }

    async fn audit(&self, record: &AuditRecord) -> Result<(), PlanError> {
        let unknown = |error: UnknownCaller| PlanError::Unavailable { message: error.to_string() };
        self.inner.audit(&self.of(record).await.map_err(unknown)?).await
    }

    async fn audit_trail(&self, limit: usize) -> Result<Vec<AuditRecord>, PlanError> {
        self.inner.audit_trail(limit).await
    }
}

#[async_trait]
impl Controls for Attributed<dyn Controls> {
    async fn read(&self) -> Result<Arc<Document>, ControlsError> {
        self.inner.read().await
    }

    async fn init(&self, audit: &AuditRecord) -> Result<Initialised, ControlsError> {
        self.inner.init(&self.of(audit).await.map_err(unknown)?).await
    }

    async fn change(&self, document: &Document, audit: &AuditRecord) -> Result<Changed, ControlsError> {
        self.inner.change(document, &self.of(audit).await.map_err(unknown)?).await
    }

    async fn history(&self, limit: usize) -> Result<Vec<Document>, ControlsError> {
        self.inner.history(limit).await
    }

    async fn version(&self, version: u64) -> Result<Option<Document>, ControlsError> {
        self.inner.version(version).await
    }
}

fn unknown(error: UnknownCaller) -> ControlsError {
    ControlsError::Unavailable { message: error.to_string() }
}
