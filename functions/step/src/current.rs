//! The handler as it is now: with the tools of every server that answers.

use std::sync::Arc;

use tokio::sync::Mutex;
use windlass::run::advance::Engine;

use crate::{handler::Handler, ready::Agents};

/// The handler, and what it is put together from anew when a tool server comes back.
pub struct Current {
    handler: Mutex<Arc<Handler>>,
    agents: Agents,
}

impl Current {
    /// Begins with `handler`.
    pub fn new(handler: Handler, agents: Agents) -> Current {
        Current { handler: Mutex::new(Arc::new(handler)), agents }
    }

    /// The handler for the next batch. Servers that were away are asked again before it, at most every 15 seconds and for 2.
    pub async fn handler(&self) -> Arc<Handler> {
        let mut handler = self.handler.lock().await;
        if let Some(agent) = self.agents.renewed().await {
            let engine = Engine { agent, ..handler.engine.clone() };
            *handler = Arc::new(Handler {
                engine,
                deliveries: Arc::clone(&handler.deliveries),
                terms: handler.terms,
                tasks: handler.tasks.clone(),
                wake_up_senders: handler.wake_up_senders.clone(),
            });
        }
        Arc::clone(&handler)
    }
}
