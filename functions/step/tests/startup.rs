//! The real process: it does not poll under a policy that does not hold.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    thread,
};

use serde_json::json;

/// Answers every request as Secrets Manager answers for the approval keys, and knows no other secret.
fn secrets_manager() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            if !String::from_utf8_lossy(&request[..read]).contains("windlass/approval") {
                let body = json!({ "__type": "ResourceNotFoundException", "message": "no such secret" }).to_string();
                let head = format!("content-type: application/x-amz-json-1.1\r\ncontent-length: {}", body.len());
                let _ = write!(stream, "HTTP/1.1 400 Bad Request\r\n{head}\r\nconnection: close\r\n\r\n{body}");
                continue;
            }
            // It describes the approval keys, and says what their public halves are.
            let keys = json!({ "k1": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" }).to_string();
            let stages = json!({ "v1": ["AWSCURRENT"] });
            let body = json!({ "Name": "windlass/approval", "SecretString": keys, "VersionIdsToStages": stages });
            let body = body.to_string();
            let head = format!("content-type: application/x-amz-json-1.1\r\ncontent-length: {}", body.len());
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    format!("http://{address}")
}

/// Runs the function until it gives up, beside a Runtime API that nobody may call.
fn starting(variables: &[(&str, &str)]) -> Output {
    let runtime_api = TcpListener::bind("127.0.0.1:0").expect("a free port");
    runtime_api.set_nonblocking(true).expect("it can be asked without waiting");
    let output = Command::new(env!("CARGO_BIN_EXE_step"))
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api.local_addr().expect("it is bound").to_string())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", secrets_manager())
        .env("ENVIRONMENT", "production")
        .env("RELEASE", "r1")
        .envs(
            ["RUNS_TABLE", "IDEMPOTENCY_TABLE", "CONTROLS_TABLE", "MEMORY_TABLE", "DESK_TABLE"]
                .map(|name| (name, "table")),
        )
        .envs(["STEP_QUEUE_URL", "STEP_DEAD_LETTER_QUEUE_URL"].map(|name| (name, "http://127.0.0.1:9/0/steps")))
        .env("APPROVAL_SECRET", "windlass/approval-keys")
        .env("APPROVAL_PUBLIC_SECRET", "windlass/approval-public-keys")
        .env("TASKS", "refund")
        .envs(variables.iter().copied())
        .output()
        .expect("it runs");
    let polled = runtime_api.accept();
    assert!(matches!(&polled, Err(error) if error.kind() == ErrorKind::WouldBlock), "it polled: {polled:?}");
    output
}

#[test]
fn a_policy_with_a_mistake_stops_the_start_and_names_file_and_line() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistaken.cedar");
    for (rules, says) in [
        ("\n\n@id(\"x\")\npermit (principal, action, resource)\nwhn { true };\n", "mistaken.cedar:5: "),
        ("@id(\"x\")\npermit (principal, action == Action::\"refnd\", resource);\n", "mistaken.cedar:2: "),
        // The drills are not there in production.
        ("\n@id(\"x\")\npermit (principal, action == Action::\"drill_crash\", resource);\n", "mistaken.cedar:3: "),
    ] {
        std::fs::write(&file, rules).expect("it is written");
        let output = starting(&[("POLICY_FILE", &file.display().to_string())]);
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with("not started, nothing was polled"), "{message}");
        assert!(message.contains(says), "{message}");
    }
    std::fs::remove_file(&file).expect("it is there");
    let output = starting(&[("POLICY_FILE", &file.display().to_string())]);
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains("mistaken.cedar: cannot be read"), "{message}");
}

#[test]
fn a_missing_model_key_is_reported_together_with_everything_else() {
    let model =
        [("MODEL", "openai:gpt"), ("MODEL_SECRET", "windlass/model-key"), ("MODEL_FALLBACK_SECRET", "windlass/second")];
    let prices = ("MODEL_PRICES", r#"{"openai:gpt":{"input":0.5,"output":1.5}}"#);
    let servers = ("MCP_SERVERS", "not a list");
    for (more, says) in [
        // Variables that are wrong.
        (
            vec![prices, ("STRIKES_MAX", "many"), ("APPROVAL_SECRET", "windlass/none")],
            &[
                "4 problems",
                "`STRIKES_MAX` is `many`",
                "secret `windlass/none`",
                "`windlass/model-key`",
                "`windlass/second`",
            ][..],
        ),
        // Tool servers that cannot be used.
        (
            vec![prices, servers],
            &["2 problems", "secret `windlass/model-key` does not exist", "MCP: `MCP_SERVERS`: no list"],
        ),
    ] {
        let output = starting(&[&model[..], &more[..]].concat());
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with("not started, nothing was polled: "), "{message}");
        for part in says {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}
