use super::*;
use crate::conversation::tests::tool;

fn reply(text: &str, calls: Vec<ReplyCall>, end: End) -> Reply {
    Reply { text: text.to_owned(), calls, end, tokens: None }
}

fn calling(id: &str, name: &str, arguments: Result<Value, String>) -> ReplyCall {
    ReplyCall { id: Some(id.to_owned()), name: name.to_owned(), arguments, echo: None }
}

#[test]
fn a_text_becomes_the_object_that_it_is_or_an_object_around_it() {
    for (text, wanted) in [
        (r#"{"a":1}"#, json!({ "a": 1 })),
        ("```json\n{\"a\":1}\n```", json!({ "a": 1 })),
        ("```\n{\"a\":1}\n```", json!({ "a": 1 })),
        ("```json {\"a\":1}```", json!({ "a": 1 })),
        ("Here it is:\n```json\n{\"a\":1}\n```", json!({ "a": 1 })),
        ("First\n```json\n{\"a\":0}\n```\nthen\n```json\n{\"a\":1}\n```\nDone.", json!({ "a": 1 })),
        ("<think>the customer is angry</think>\n{\"a\":1}", json!({ "a": 1 })),
        ("<think>a</think><think>b</think>{\"a\":1}", json!({ "a": 1 })),
        ("so I answer\n</think>\n{\"a\":1}", json!({ "a": 1 })),
        ("<think>hm</think> Here:\n```\n{\"a\":1}\n```", json!({ "a": 1 })),
        ("<think>hm</think> Done.", json!({ "text": "Done." })),
        (r#"{"a":"<think>kept</think>"}"#, json!({ "a": "<think>kept</think>" })),
        (r#"{"a":"<tool_call>kept"}"#, json!({ "a": "<tool_call>kept" })),
        (r#"{"name":"unknown","arguments":{}}"#, json!({ "name": "unknown", "arguments": {} })),
        ("Done.", json!({ "text": "Done." })),
        ("[1]", json!({ "text": "[1]" })),
    ] {
        for end in [End::Whole, End::Unsaid] {
            let proposal = reply(text, Vec::new(), end).proposal(&[], "m");
            assert_eq!(proposal, Proposal::Respond(wanted.clone()), "{text}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_unusable_and_says_why() {
    let known = tool("read");
    let calls = |name: &str, arguments| reply("", vec![calling("1", name, arguments)], End::ToCall);
    let says = |text: &str| reply(text, Vec::new(), End::Whole);
    let written = r#"<tool_call>{"name":"read","arguments":{}}</tool_call>"#;
    for (reply, why) in [
        (says(" \n"), "empty"),
        (says("<think>and so on, without end"), "empty"),
        (reply("{\"a\":", Vec::new(), End::CutOff), "cut off"),
        (reply("{\"a\":", Vec::new(), End::Unsaid), "breaks off"),
        (reply("", Vec::new(), End::Broken { problem: "malformed".into() }), "could not read it: malformed"),
        (reply("Let me refund that.", Vec::new(), End::ToCall), "announces a tool call and holds none"),
        (says(written), "writes a tool call as text"),
        (says("[TOOL_CALLS][{\"name\":\"read\"}]"), "writes a tool call as text"),
        (says(r#"{"name":"read","arguments":{"n":1}}"#), "writes a tool call as text"),
        (says("Now:\n```json\n{\"name\":\"read\",\"parameters\":{}}\n```"), "writes a tool call as text"),
        (calls("write", Ok(json!({}))), "there is no tool `write`"),
        (calls("read", Ok(json!([1]))), "are not a JSON object"),
        (calls("read", parsed_arguments("{\"a\":")), "cannot be read"),
    ] {
        match reply.proposal(&[&known], "m") {
            Proposal::Unusable { problem } => assert!(problem.contains(why), "{problem}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[test]
fn one_bad_call_spoils_the_plan() {
    let known = tool("read");
    let (good, bad) = (calling("1", "read", Ok(json!({}))), calling("2", "read", Ok(json!(1))));
    let both = reply("", vec![good.clone(), bad], End::ToCall).proposal(&[&known], "m");
    assert!(matches!(both, Proposal::Unusable { .. }), "{both:?}");
}

#[test]
fn the_same_call_under_the_same_id_is_one_call_and_everything_else_is_two() {
    let known = tool("read");
    let call = |id: &str, n: u32| calling(id, "read", Ok(json!({ "n": n })));
    let nameless = ReplyCall { id: None, ..call("", 1) };
    for (calls, wanted) in [
        (vec![call("a", 1), call("a", 1)], 1),
        (vec![call("a", 1), call("a", 2)], 2),
        (vec![call("a", 1), call("b", 1)], 2),
        (vec![call("a", 1), call("a", 2), call("a", 1)], 2),
        (vec![nameless.clone(), nameless], 2),
    ] {
        match reply("", calls.clone(), End::ToCall).proposal(&[&known], "m") {
            Proposal::Call(made) => assert_eq!(made.len(), wanted, "{calls:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_a_provider_wants_back_is_kept_with_its_model_and_not_beyond_its_bound() {
    let known = tool("read");
    let kept = |bytes: usize| {
        let call = ReplyCall { echo: Some(json!("x".repeat(bytes))), ..calling("1", "read", Ok(json!({}))) };
        match reply("", vec![call], End::ToCall).proposal(&[&known], "openai:m") {
            Proposal::Call(mut calls) => calls.remove(0).echo.map(|echo| echo.model),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(kept(100).as_deref(), Some("openai:m"));
    assert_eq!(kept(ECHO_BYTES_MAX), None);
}

#[test]
fn a_model_that_declines_says_so() {
    let declined = reply("", Vec::new(), End::Declined { message: "I will not.".into() }).proposal(&[], "m");
    assert_eq!(declined, Proposal::Decline { message: "I will not.".into() });
}
