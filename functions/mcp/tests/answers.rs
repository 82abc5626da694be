//! Servers that do not do as one would expect, as they were met.

mod support;

use serde_json::{Value, json};
use support::{
    Answer, FalseServer, Request, catalogue, context, event, events, http, initialized, of, ports, result, sound, tool,
};
use windlass::agent::tool::ToolError;

fn shipped() -> Value {
    json!({ "text": "shipped" })
}

async fn ship(server: &FalseServer) -> Result<Value, ToolError> {
    tool(&of(server).await, "shop/ship").call(&context("acme"), &json!({ "order": "A-1" })).await
}

/// Answers `initialize` with a session.
fn in_session(request: &Request, number: usize) -> Option<Answer> {
    let body = json!({ "jsonrpc": "2.0", "id": request.body["id"], "result": initialized() }).to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s{number}");
    let bytes = format!("{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes();
    (request.rpc() == "initialize").then_some(Answer::Bytes(bytes))
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_and_the_call_made_once() {
    let rpc = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no valid session"}}"#;
    for (status, content_type, body) in [
        ("400 Bad Request", "application/json", rpc),
        ("400 Bad Request", "text/plain", "Session not found"),
        ("404 Not Found", "text/plain", ""),
    ] {
        let server = FalseServer::start(move |request, before| {
            let forgotten = request.rpc() == "tools/call" && request.header("mcp-session-id") == Some("s0");
            match in_session(request, before) {
                Some(answer) => answer,
                None if forgotten => http(status, content_type, body),
                None => sound(request),
            }
        })
        .await;
        assert_eq!(ship(&server).await, Ok(shipped()), "{status} {body}");
        assert_eq!((server.count("initialize"), server.count("tools/call")), (2, 2), "{status} {body}");
        assert_eq!(server.last("tools/call").header("mcp-session-id"), Some("s1"));
    }
}

#[tokio::test]
async fn a_server_that_forgets_every_session_is_asked_twice_and_no_more() {
    let server = FalseServer::start(|request, before| match in_session(request, before) {
        Some(answer) => answer,
        None if request.rpc() == "tools/call" => http("404 Not Found", "text/plain", ""),
        None => sound(request),
    })
    .await;
    assert!(matches!(ship(&server).await, Err(ToolError::Unavailable { .. })));
    assert_eq!(server.count("tools/call"), 2);
}

#[tokio::test]
async fn a_session_that_is_lost_within_an_answer_is_no_reason_to_repeat_an_effect() {
    let server = FalseServer::start(|request, before| {
        let error = json!({ "jsonrpc": "2.0", "id": request.body["id"], "error": { "code": -32001, "message": "Session not found" } });
        match in_session(request, before) {
            Some(answer) => answer,
            None if request.rpc() == "tools/call" && before == 0 => http("200 OK", "application/json", &error.to_string()),
            None => sound(request),
        }
    })
    .await;
    let catalogue = of(&server).await;
    let ship = tool(&catalogue, "shop/ship");
    let (context, order) = (context("acme"), json!({ "order": "A-1" }));
    assert!(matches!(ship.call(&context, &order).await, Err(ToolError::Unknown { .. })));
    assert_eq!(server.count("tools/call"), 1);
    assert_eq!(ship.call(&context, &order).await, Ok(shipped()));
    assert_eq!(server.count("initialize"), 2, "the next call has a session of its own");
}

#[tokio::test]
async fn what_is_answered_to_a_notification_is_not_read() {
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\n<p>ok</p>",
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let server = FalseServer::start(move |request, _| match request.rpc() {
            "notifications/initialized" => Answer::Bytes(answer.as_bytes().to_vec()),
            _ => sound(request),
        })
        .await;
        assert_eq!(ship(&server).await, Ok(shipped()), "{answer}");
    }
}

#[tokio::test]
async fn one_malformed_tool_is_left_out_unless_it_is_used() {
    let server = FalseServer::start(|request, before| {
        let mut tools = support::tools();
        // It appears while the process runs, too.
        if before % 2 == 1 || before == 0 {
            tools.as_array_mut().expect("a list").push(json!({ "name": "x" }));
        }
        match request.rpc() {
            "tools/list" => result(request, json!({ "tools": tools })),
            _ => sound(request),
        }
    })
    .await;
    let catalogue = catalogue(&server.configuration(json!({ "ship": {}, "x": {} })), &ports(&[])).await;
    assert_eq!(catalogue.away().count(), 0);
    let not_now = tool(&catalogue, "shop/x").ready(&context("acme")).await.expect_err("it is malformed");
    assert!(not_now.reason.contains("tool `x`: what its server says of it cannot be read"), "{not_now}");
    let catalogue = of(&server).await;
    for _ in 0..3 {
        assert_eq!(tool(&catalogue, "shop/ship").ready(&context("acme")).await, Ok(()));
    }
    assert_eq!(ship(&server).await, Ok(shipped()));
}

#[tokio::test]
async fn a_cursor_that_does_not_advance_ends_the_list() {
    let server = FalseServer::start(|request, _| match request.rpc() {
        "tools/list" => result(request, json!({ "tools": support::tools(), "nextCursor": "" })),
        _ => sound(request),
    })
    .await;
    let catalogue = of(&server).await;
    assert_eq!((catalogue.away().count(), server.count("tools/list")), (0, 2));
}

#[tokio::test]
async fn a_stream_that_ends_before_its_answer_is_taken_up_after_its_last_event() {
    let server = FalseServer::start(|request, _| match (request.method.as_str(), request.rpc()) {
        ("POST", "tools/call") => Answer::Bytes(events(&format!("id: {}\nretry: 1\ndata: \n\n", request.body["id"]))),
        ("GET", _) => {
            // The test has ids of events that are those of the requests.
            let id: Value =
                request.header("last-event-id").and_then(|id| id.parse().ok()).map_or(Value::Null, |id: i64| json!(id));
            let shipped = json!({ "content": [{ "type": "text", "text": "shipped" }] });
            Answer::Bytes(events(&format!("id: 9\n{}", event(&id, shipped))))
        }
        _ => sound(request),
    })
    .await;
    assert_eq!(ship(&server).await, Ok(shipped()));
    assert_eq!((server.count("GET"), server.count("tools/call")), (1, 1));
}

#[tokio::test]
async fn a_stream_is_taken_up_a_bounded_number_of_times() {
    let server = FalseServer::start(|request, _| match (request.method.as_str(), request.rpc()) {
        ("POST", "tools/call") | ("GET", _) => Answer::Bytes(events("id: 1\nretry: 1\ndata: \n\n")),
        _ => sound(request),
    })
    .await;
    assert!(matches!(ship(&server).await, Err(ToolError::Unknown { .. })));
    assert_eq!((server.count("GET"), server.count("tools/call")), (8, 1));
}

#[tokio::test]
async fn a_server_that_asks_whether_we_are_there_is_answered() {
    let server = FalseServer::start(|request, _| match request.rpc() {
        "tools/call" => {
            let ping = "data: {\"jsonrpc\":\"2.0\",\"id\":\"p1\",\"method\":\"ping\"}\n\n";
            let shipped = json!({ "content": [{ "type": "text", "text": "shipped" }] });
            Answer::WhenAnswered(events(ping), "p1", event(&request.body["id"], shipped).into_bytes())
        }
        _ => sound(request),
    })
    .await;
    assert_eq!(ship(&server).await, Ok(shipped()));
    let answered = server.requests().into_iter().find(|request| request.body["id"] == "p1").expect("an answer");
    assert_eq!(answered.body, json!({ "jsonrpc": "2.0", "id": "p1", "result": {} }));
}

#[tokio::test]
async fn a_busy_server_is_believed_in_what_it_asks_us_to_wait_but_not_for_years() {
    for (retry_after, millis) in [("2.5", 2_500), ("1768000000000", 3_600_000), ("soon", 0)] {
        let server = FalseServer::start(move |request, _| match request.rpc() {
            "tools/call" => Answer::Bytes(
                format!("HTTP/1.1 429 Too Many Requests\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\n\r\n")
                    .into_bytes(),
            ),
            _ => sound(request),
        })
        .await;
        let waits = match ship(&server).await {
            Err(ToolError::Unavailable { retry_after, .. }) => retry_after.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!(waits, millis, "{retry_after}");
    }
}

#[tokio::test]
async fn a_reading_that_meets_an_overload_waits_as_long_as_it_is_asked_to() {
    let server = FalseServer::start(|request, _| match request.rpc() {
        "tools/call" => {
            Answer::Bytes(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".to_vec())
        }
        _ => sound(request),
    })
    .await;
    let look = tool(&of(&server).await, "shop/look_up");
    let told = look.call(&context("acme"), &json!({ "order": "A-1" })).await;
    let waits = std::time::Duration::from_secs(7);
    assert!(matches!(&told, Err(ToolError::Unavailable { retry_after, .. }) if *retry_after == waits), "{told:?}");
    assert!(matches!(ship(&server).await, Err(ToolError::Unknown { .. })), "an effect may have happened");
}
