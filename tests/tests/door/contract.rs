//! The contract in `infra/openapi.yaml` against the stack, by schemathesis from PyPI: no answer that is not documented, no 5xx. Without
//! PyPI the test says so and ends.

use std::{path::Path, process::Command, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use windlass_operator::stack::Options;
use windlass_tests::{
    local_kit::{Kit, binaries},
    python,
};

/// The version that the options below are written for.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Requests that are made up per operation, and the seed that they follow from.
const EXAMPLES: &str = "40";
const SEED: &str = "20261121";

/// How many seconds requests are made up for one person: it goes on until they are spent.
const SECONDS: &str = "15";

/// How long the run may take to come to its question.
const SOON: Duration = Duration::from_secs(20);

/// What is looked at, besides that nothing is undocumented. Not: whether what fits the schema is accepted (an id that fits may be
/// nobody's), whether unknown headers are refused (HTTP has it that they are ignored), and whether other methods are 405 (the gateway
/// knows no such route, and says 404).
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,missing_required_header,allow_header_conformance,ignored_auth";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_contract_says_is_what_is_answered() {
    let folder = TempDir::new().expect("a folder");
    let python = match python::with("schemathesis", &[SCHEMATHESIS]) {
        Ok(python) => python,
        Err(problem) => {
            println!("skipped: there is no Python with `{SCHEMATHESIS}` to be had: {problem}");
            return;
        }
    };
    let mut options = Options::new(binaries().await);
    for limit in ["ACTOR_RATE_LIMIT", "TENANT_RATE_LIMIT", "BACKLOG_BUSY_FROM", "BACKLOG_MAX"] {
        options.env.insert(limit.to_owned(), "off".to_owned());
    }
    let kit = Kit::start(&options).await;
    let payload = json!({ "order": "A-1002", "amount_cents": 90_000 });
    let run = kit.submit("asks", "refund", payload).await.body["run_id"].as_str().expect("a run").to_owned();
    let shown = kit.until(&run, &["awaiting_approval"], SOON).await;
    let approval = shown["escalation"][0]["id"].as_str().expect("an approval");
    let tokens = &kit.address.tokens;
    for (who, token, ids) in [
        ("the submitter, with ids of nobody", &tokens.submitter, String::new()),
        ("the approver, with ids that there are", &tokens.approver, real_ids(&run, approval)),
    ] {
        let authorization = format!("[auth.openapi.token]\nbearer = \"{token}\"\n\n");
        std::fs::write(folder.path().join("schemathesis.toml"), authorization + &ids).expect("it is written");
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/openapi.yaml");
        let mut command = Command::new(python.with_file_name("schemathesis"));
        command.arg("run").arg(contract).args(["--url", &kit.address.api, "--checks", CHECKS]);
        // One worker: threads that parse Python at once fail by chance up to 3.11 (https://github.com/python/cpython/issues/106905).
        command.args(["--workers", "1", "--warnings", "off"]);
        command.args([
            "--max-examples",
            EXAMPLES,
            "--seed",
            SEED,
            "--max-time",
            SECONDS,
            "--phases",
            "examples,coverage,fuzzing",
        ]);
        command
            .args(["--generation-database", "none", "--no-color", "--continue-on-failure"])
            .current_dir(folder.path());
        let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
        let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        println!("{who}:\n{said}");
        assert!(ran.status.success(), "{who}: {}", ran.status);
    }
    kit.stack.shutdown().await;
}

/// The tool's configuration that puts these ids into the paths.
fn real_ids(run: &str, approval: &str) -> String {
    let operations = [
        ("showRun", run),
        ("showJournal", run),
        ("cancelRun", run),
        ("showApproval", approval),
        ("decideApproval", approval),
    ];
    let operation = |(name, id): (&str, &str)| {
        format!("[[operations]]\ninclude-operation-id = \"{name}\"\nparameters = {{ \"path.id\" = \"{id}\" }}\n\n")
    };
    operations.map(operation).concat()
}
