//! What must be reachable for a run to be taken on, as far as the function's own ports come to it.

use std::sync::Arc;

use async_trait::async_trait;
use windlass::{
    controls::Controls,
    door::{Requests, rate::Backlog, readiness::Part},
    idempotency::{Key, PayloadHash},
    ids::RunId,
    journal::Heads,
    run::accept::KEY_SCOPE,
};

/// Every part but the secrets.
pub fn all(
    heads: Arc<dyn Heads>,
    requests: Arc<dyn Requests>,
    controls: Arc<dyn Controls>,
    backlog: Arc<dyn Backlog>,
) -> Vec<Arc<dyn Part>> {
    vec![
        Arc::new(RunsTable(heads)),
        Arc::new(IdempotencyTable(requests)),
        Arc::new(ControlsTable(controls)),
        Arc::new(Queue(backlog)),
    ]
}

struct RunsTable(Arc<dyn Heads>);
struct IdempotencyTable(Arc<dyn Requests>);
struct ControlsTable(Arc<dyn Controls>);
struct Queue(Arc<dyn Backlog>);

/// Asked for where nothing is expected to be.
const NOBODY: &str = "readiness";
const FIRST: &str = "00000000000000000000000000";

#[async_trait]
impl Part for RunsTable {
    fn name(&self) -> &'static str {
        "runs"
    }
    async fn reach(&self) -> Result<(), String> {
        let run: RunId = FIRST.parse().map_err(|_| "no id".to_owned())?;
        self.0.head(run).await.map(drop).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Part for IdempotencyTable {
    fn name(&self) -> &'static str {
        "idempotency"
    }
    async fn reach(&self) -> Result<(), String> {
        let (tenant, actor) = (NOBODY.parse(), NOBODY.parse());
        let (Ok(tenant), Ok(actor)) = (tenant, actor) else { return Err("no name".to_owned()) };
        let key = Key::of(KEY_SCOPE, &tenant, &actor, NOBODY).map_err(|error| error.to_string())?;
        let recorded = self.0.recorded(&key, &PayloadHash::of(&NOBODY.into())).await;
        recorded.map(drop).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Part for ControlsTable {
    fn name(&self) -> &'static str {
        "controls"
    }
    async fn reach(&self) -> Result<(), String> {
        self.0.read().await.map(drop).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Part for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }
    async fn reach(&self) -> Result<(), String> {
        self.0.waiting().await.map(drop).map_err(|error| error.to_string())
    }
}
