//! The real process: it does not poll unless it can work.

use std::{
    io::ErrorKind,
    net::TcpListener,
    process::{Command, Output},
    time::{Duration, Instant},
};

/// Runs the function until it gives up, beside a Runtime API that nobody may call.
fn starting(variables: &[(&str, &str)]) -> Output {
    let runtime_api = TcpListener::bind("127.0.0.1:0").expect("a free port");
    runtime_api.set_nonblocking(true).expect("it can be asked without waiting");
    let address = runtime_api.local_addr().expect("it is bound").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_intake"))
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        // Nothing listens there.
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .envs(variables.iter().copied())
        .output()
        .expect("it runs");
    let polled = runtime_api.accept();
    assert!(matches!(&polled, Err(error) if error.kind() == ErrorKind::WouldBlock), "it polled: {polled:?}");
    output
}

const WHOLE: [(&str, &str); 12] = [
    ("ENVIRONMENT", "dev"),
    ("RELEASE", "r1"),
    ("RUNS_TABLE", "runs"),
    ("IDEMPOTENCY_TABLE", "idempotency"),
    ("CONTROLS_TABLE", "controls"),
    ("MEMORY_TABLE", "memory"),
    ("DESK_TABLE", "desk"),
    ("STEP_QUEUE_URL", "http://127.0.0.1:9/000000000000/steps"),
    ("STEP_DEAD_LETTER_QUEUE_URL", "http://127.0.0.1:9/000000000000/dead"),
    ("APPROVAL_SECRET", "windlass/approval-keys"),
    ("APPROVAL_PUBLIC_SECRET", "windlass/approval-public-keys"),
    ("TASKS", "refund"),
];

#[test]
fn without_a_configuration_it_exits_before_its_first_poll_and_names_every_variable() {
    let output = starting(&[("LOG_LEVEL", "loud")]);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()), "{message}");
    assert!(message.starts_with("not started, nothing was polled: 13 problems\n"), "{message}");
    for (name, _) in WHOLE {
        assert!(message.contains(&format!("`{name}` is required and not set; hint: ")), "{name}: {message}");
    }
    assert!(message.contains("`LOG_LEVEL` is `loud`; hint: use"), "{message}");
}

#[test]
fn without_its_secret_it_exits_before_its_first_poll_and_in_time() {
    let started = Instant::now();
    let output = starting(&WHOLE);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("secret `windlass/approval-keys` cannot be reached"), "{message}");
    assert!(!message.contains("no answer"), "what was seen says more: {message}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
