//! The boundaries, and what must hold at each whatever it is given.

mod http;
mod journals;
mod mcp;
mod models;
mod queue;
mod texts;

use std::path::Path;

use super::Target;

/// Every boundary.
pub const TARGETS: &[Target] = &[
    // Never a 5xx; every refusal a problem document; what was taken on folds.
    Target { name: "intake", share: 1, seeds: http::intake_seeds, read: http::intake },
    // The same; and nothing is decided without the token.
    Target { name: "approval", share: 1, seeds: http::approval_seeds, read: http::approval },
    // Every journal folds; every message that is not ours comes back.
    Target { name: "queue", share: 4, seeds: queue::seeds, read: queue::batch },
    Target { name: "message", share: 1, seeds: queue::message_seeds, read: queue::message },
    Target { name: "schedule", share: 1, seeds: queue::firing_seeds, read: queue::firing },
    // What is read is written back as it was.
    Target { name: "entry", share: 1, seeds: journals::entry_seeds, read: journals::entry },
    // Whatever folds is decided, told, redacted and shown.
    Target { name: "journal", share: 2, seeds: journals::journal_seeds, read: journals::journal },
    Target { name: "head", share: 1, seeds: journals::head_seeds, read: journals::head },
    Target { name: "token", share: 1, seeds: texts::token_seeds, read: texts::token },
    Target { name: "ids", share: 1, seeds: texts::id_seeds, read: texts::ids },
    Target { name: "approval keys", share: 1, seeds: texts::key_seeds, read: texts::approval_keys },
    Target { name: "idempotency key", share: 1, seeds: texts::client_key_seeds, read: texts::client_key },
    Target { name: "configuration", share: 1, seeds: texts::configuration_seeds, read: texts::configuration },
    Target { name: "controls", share: 1, seeds: texts::controls_seeds, read: texts::controls },
    Target { name: "setting", share: 1, seeds: texts::setting_seeds, read: texts::setting },
    Target { name: "prompt", share: 1, seeds: texts::prompt_seeds, read: texts::prompt },
    Target { name: "sources", share: 1, seeds: texts::source_seeds, read: texts::sources },
    // What is redacted once stays as it is.
    Target { name: "redaction", share: 1, seeds: texts::redaction_seeds, read: texts::redaction },
    Target { name: "policy", share: 20, seeds: texts::policy_seeds, read: texts::policy },
    Target { name: "command line", share: 20, seeds: texts::command_line_seeds, read: texts::command_line },
    // Nothing but a proposal or an error.
    Target { name: "anthropic", share: 1, seeds: models::anthropic_seeds, read: models::anthropic },
    Target { name: "openai", share: 1, seeds: models::openai_seeds, read: models::openai },
    Target { name: "bedrock", share: 1, seeds: models::bedrock_seeds, read: models::bedrock },
    Target { name: "mcp servers", share: 1, seeds: mcp::server_seeds, read: mcp::servers },
    // Over HTTP: a list that does not hold is refused, an answer that does not is of unknown effect.
    Target { name: "mcp list", share: 50, seeds: mcp::list_seeds, read: mcp::list },
    Target { name: "mcp call", share: 50, seeds: mcp::call_seeds, read: mcp::call },
];

fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A file of the repository.
fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
