//! A function for the tests of the stack: its event says what it does.
//!
//! `ECHO_INIT_EXIT` makes it fail before it asks for work. Otherwise the first of these fields decides: `exit` ends the
//! process with that code, `error` returns an error, `print` writes a line and goes on, `mark` creates a file and goes on, `sleepMs`
//! waits and then goes on, `env` returns variables, `Records` answers a batch (see [`batch`]), `response` returns its value; anything else
//! is returned as it is.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if let Ok(last_words) = std::env::var("ECHO_INIT_EXIT") {
        eprintln!("starting");
        eprintln!("{last_words}");
        std::process::exit(3);
    }
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    if let Some(code) = event.get("exit").and_then(Value::as_i64) {
        eprintln!("leaving with {code}");
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
    if let Some(message) = event.get("error").and_then(Value::as_str) {
        return Err(message.into());
    }
    if let Some(line) = event.get("print") {
        println!("{line}");
    }
    if let Some(path) = event.get("mark").and_then(Value::as_str) {
        std::fs::write(path, "")?;
    }
    if let Some(ms) = event.get("sleepMs").and_then(Value::as_u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if let Some(names) = event.get("env").and_then(Value::as_array) {
        return Ok(variables(names));
    }
    if let Some(records) = event.get("Records").and_then(Value::as_array) {
        return batch(records).await;
    }
    if event.get("context").is_some() {
        return Ok(json!({
            "requestId": context.request_id,
            "deadlineMs": context.deadline,
            "arn": context.invoked_function_arn,
            "trace": context.xray_trace_id,
            "pid": std::process::id(),
        }));
    }
    // An HTTP request may carry instructions in its body, so that a route can be made to fail.
    if let Some(body) =
        event.get("body").and_then(Value::as_str).and_then(|body| serde_json::from_str::<Value>(body).ok())
    {
        if body.get("exit").is_some() {
            std::process::exit(1);
        }
        if let Some(names) = body.get("env").and_then(Value::as_array) {
            return Ok(variables(names));
        }
        if let Some(response) = body.get("response") {
            return Ok(response.clone());
        }
    }
    Ok(event.get("response").cloned().unwrap_or(event))
}

fn variables(names: &[Value]) -> Value {
    let value = |name: &Value| name.as_str().and_then(|name| std::env::var(name).ok());
    names.iter().map(|name| json!(value(name))).collect()
}

/// Works every message; its body is an order and perhaps the path of a file, which gets a line with the order, the
/// receive count and the size of the batch. `fail` is reported as failed, `unknown` and `empty` report what is not in
/// the batch, `malformed` spoils the whole response, `hang` waits for a minute, `crash` ends the process, and all else
/// succeeds.
async fn batch(records: &[Value]) -> Result<Value, Error> {
    let mut failures = Vec::new();
    let mut malformed = false;
    for record in records {
        let body = record["body"].as_str().unwrap_or_default();
        let (order, path) = body.split_once(' ').unwrap_or((body, ""));
        if !path.is_empty() {
            let line = format!("{order} {} {}\n", record["attributes"]["ApproximateReceiveCount"], records.len());
            let mut file = std::fs::File::options().create(true).append(true).open(path)?;
            std::io::Write::write_all(&mut file, line.as_bytes())?;
        }
        match order {
            "fail" => failures.push(json!({ "itemIdentifier": record["messageId"] })),
            "unknown" => failures.push(json!({ "itemIdentifier": "no such message" })),
            "empty" => failures.push(json!({ "itemIdentifier": "" })),
            "malformed" => malformed = true,
            "hang" => tokio::time::sleep(Duration::from_secs(60)).await,
            "crash" => std::process::exit(1),
            _ => {}
        }
    }
    Ok(if malformed { json!("not an object") } else { json!({ "batchItemFailures": failures }) })
}
