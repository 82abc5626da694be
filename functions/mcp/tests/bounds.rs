//! What a server answers is bounded before it is parsed.

mod support;

use serde_json::json;
use support::{Answer, FalseServer, context, of, sound, tool};
use windlass::agent::tool::ToolError;

/// 14 MB of the densest JSON.
const PART: usize = 14 * 1024;
const PARTS: usize = 1_000;

/// What sockets hold on the way beside what was read: the kernel's buffers on both sides.
const ON_THE_WAY: usize = 8 * 1024 * 1024;

/// The tests of this file run one after the other: they share a process, and one of them measures it.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The most memory that the process has had, in KiB; `None` where the kernel does not tell.
fn peak_kib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn dense() -> Vec<u8> {
    b"1,".repeat(PART / 2)
}

async fn call(head: &'static str, name: &str, parts: usize) -> (Result<serde_json::Value, ToolError>, usize) {
    let server = FalseServer::start(move |request, _| match request.rpc() {
        "tools/call" => Answer::Many(head.as_bytes().to_vec(), dense(), parts),
        _ => sound(request),
    })
    .await;
    let tool = tool(&of(&server).await, name);
    (tool.call(&context("acme"), &json!({ "order": "A-1" })).await, server.written())
}

#[tokio::test]
async fn fourteen_megabytes_are_never_in_memory() {
    let _alone = ALONE.lock().await;
    // What a first call sets up is there before anything is measured: trust anchors, a schema's validator.
    let small = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n[";
    assert!(call(small, "shop/ship", 1).await.0.is_err());
    let before = peak_kib();
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n[",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14336001\r\n\r\n[",
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: [",
        "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n[",
    ] {
        let (answer, written) = call(head, "shop/ship", PARTS).await;
        assert!(matches!(&answer, Err(ToolError::Unknown { .. })), "an effect may have happened: {answer:?}");
        assert!(written < ON_THE_WAY, "{written} bytes were taken of {head}");
    }
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        println!("the peak grew by {} KiB over four answers of 14 MB", after - before);
        assert!(after - before < 16 * 1024, "the peak grew by {} KiB", after - before);
    }
}

#[tokio::test]
async fn a_reading_that_is_too_large_is_refused_with_its_size() {
    let _alone = ALONE.lock().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n[";
    let (answer, _) = call(head, "shop/look_up", PARTS).await;
    let says = |what: &str| matches!(&answer, Err(ToolError::Refused { message }) if message.contains(what));
    assert!(says("an answer of more than 262144 bytes"), "{answer:?}");
    // Within the bound of bytes, but of as many values as they hold.
    let (answer, _) = call(head, "shop/look_up", 16).await;
    let says = |what: &str| matches!(&answer, Err(ToolError::Refused { message }) if message.contains(what));
    assert!(says("an answer of more than 32768 values"), "{answer:?}");
}
