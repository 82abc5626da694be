//! `GET /health` and `GET /ready`: for load balancers, canaries and rollouts, without a token, and without a name of any resource.

use serde_json::{Map, Value, json};
use windlass_http::{Kind, Problem, Reply};

use crate::Intake;

/// The kit's own version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Intake {
    /// Whether the function answers. It looks at nothing: one that cannot read its configuration or its secrets does not start.
    pub(crate) fn health(&self) -> Result<Reply, Problem> {
        Reply::json(200, &json!({ "status": "ok", "release": self.release, "version": VERSION }))
    }

    /// Whether a run could be taken on: whether everything that is needed can be reached, in bounded time, as of a few seconds ago.
    pub(crate) async fn ready(&self) -> Result<Reply, Problem> {
        let found = self.readiness.look().await;
        let word = |reached: bool| if reached { "ok" } else { "unreachable" };
        let parts: Map<String, Value> =
            found.iter().map(|(name, reached)| ((*name).to_owned(), word(*reached).into())).collect();
        if found.iter().all(|(_, reached)| *reached) {
            return Reply::json(200, &json!({ "status": "ready", "release": self.release, "parts": parts }));
        }
        let lost: Vec<&str> = found.iter().filter(|(_, reached)| !reached).map(|(name, _)| *name).collect();
        let problem = Problem::new(Kind::NotReady, format!("cannot be reached: {}", lost.join(", ")));
        Err(problem.with("parts", parts).retry_after(windlass::door::readiness::SEEN_FOR))
    }
}
