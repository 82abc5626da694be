//! The kit on this machine, for tests: the real function binaries on the local stack.

use std::{ops::Deref, path::PathBuf};

use serde_json::json;
use tokio::sync::OnceCell;
use windlass_local::Stack;
use windlass_operator::{functions, local, stack::Options};

use crate::caller::Caller;
pub use crate::caller::{Answer, http};

static BINARIES: OnceCell<PathBuf> = OnceCell::const_new();

/// Where the function binaries are; built once per test binary.
///
/// # Panics
/// When they cannot be built.
pub async fn binaries() -> PathBuf {
    let build = async || functions::build().await.expect("the functions are built");
    BINARIES.get_or_init(build).await.clone()
}

/// A started kit, and somebody who uses it.
pub struct Kit {
    /// The stack.
    pub stack: Stack,
    caller: Caller,
}

impl Deref for Kit {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Kit {
    /// Starts the kit.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(options: &Options) -> Kit {
        let http = http();
        let (stack, address) = local::start(options, &http).await.expect("the kit starts");
        Kit { stack, caller: Caller::new(address, http) }
    }

    /// Puts any text on the step queue.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub async fn enqueue(&self, body: &str) {
        let queue = self.stack.queue_url(windlass_operator::stack::STEP_QUEUE);
        let body = json!({ "QueueUrl": queue, "MessageBody": body });
        self.aws.call("AmazonSQS.SendMessage", &body).await.expect("the message is sent");
    }

    /// Runs the sweep that looks after due runs.
    pub async fn sweep(&self) {
        let _ = self.stack.run_schedule("rescue-runs").await;
    }
}
