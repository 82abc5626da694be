use super::{written::TIMEOUT, *};
use crate::tokens::TenantSecrets;

#[test]
fn what_is_not_said_of_a_tool_is_left_to_its_server() {
    let text = r#"[{"name":"shop","url":"https://mcp.example.com/mcp","auth_secret":"windlass/shop","tools":
        {"look_up":{},"pay":{"effect":"idempotent","approval":"finance","timeout_seconds":30,"redact_arguments":["/iban"]}}}]"#;
    let servers = parse(text).expect("it is sound");
    let tools = &servers[0].tools;
    assert_eq!((tools["look_up"].effect, tools["look_up"].timeout), (None, TIMEOUT));
    assert_eq!(tools["pay"].effect, Some(Effect::Idempotent));
    assert_eq!(tools["pay"].approval.as_ref().map(ToString::to_string).as_deref(), Some("finance"));
    assert_eq!(tools["pay"].redaction.arguments[0].to_string(), "/iban");
}

#[test]
fn everything_that_is_wrong_is_said_without_quoting_it() {
    for (text, says) in [
        ("hunter2", "no list of servers at line 1"),
        ("[]", "0 servers"),
        (r#"[{"name":"a","url":"https://h/","tools":{"t":{"hunter2":1}}}]"#, "use `name`, `url`"),
        (r#"[{"name":"a/b","url":"https://h/","tools":{"t":{}}}]"#, "a server's name"),
        (r#"[{"name":"a","url":"https://hunter2@h/","tools":{"t":{}}}]"#, "`url` is not"),
        (r#"[{"name":"a","url":"ftp://h/","tools":{"t":{}}}]"#, "`url` is not"),
        (r#"[{"name":"a","url":"http://h/","auth_secret":"s","tools":{"t":{}}}]"#, "goes with `https:` only"),
        (r#"[{"name":"a","url":"http://h/","identity_secret":"s","tools":{"t":{}}}]"#, "goes with `https:` only"),
        (r#"[{"name":"a","url":"https://h/","auth_secret":"s","auth_secrets":{},"tools":{"t":{}}}]"#, "both set"),
        (r#"[{"name":"a","url":"https://h/","auth_secrets":{"a#b":"s"},"tools":{"t":{}}}]"#, "not a tenant"),
        (r#"[{"name":"a","url":"https://h/","auth_secret":"s","list_secret":"l","tools":{"t":{}}}]"#, "by tenant only"),
        (r#"[{"name":"a","url":"https://h/","answer_bytes_max":16777216,"tools":{"t":{}}}]"#, "out of range"),
        (
            r#"[{"name":"a","url":"https://h/","retry":{"rest_first_millis":0},"tools":{"t":{}}}]"#,
            "`rest_first_millis`",
        ),
        (
            r#"[{"name":"a","url":"https://h/","retry":{"rest_max_seconds":86400},"tools":{"t":{}}}]"#,
            "`rest_max_seconds`",
        ),
        (r#"[{"name":"a","url":"https://h/","tools":{"t":{"cache_scope":"actor"}}}]"#, "goes with `cache_seconds`"),
        (r#"[{"name":"a","url":"https://h/","tools":{"t":{"bind":{"tenant":"tenant"}}}}]"#, "not a JSON pointer"),
        (r#"[{"name":"a","url":"https://h/","tools":{}}]"#, "`tools` is empty"),
        (r#"[{"name":"a","url":"https://h/","tools":{"t":{"effect":"queryable"}}}]"#, "no way to ask"),
        (r#"[{"name":"a","url":"https://h/","tools":{"t":{"timeout_seconds":0}}}]"#, "out of range"),
        (r#"[{"name":"a","url":"https://h/","tools":{"t":{"redact_answer":["x"]}}}]"#, "not a JSON pointer"),
        (
            r#"[{"name":"a","url":"https://h/","tools":{"t":{}}},{"name":"a","url":"https://h/","tools":{"t":{}}}]"#,
            "two servers",
        ),
    ] {
        let problem = parse(text).expect_err(text).to_string();
        assert!(problem.contains(says) && !problem.contains("hunter2"), "{text} gave: {problem}");
    }
    assert!(parse(r#"[{"name":"a","url":"http://127.0.0.1:1/","auth_secret":"s","tools":{"t":{}}}]"#).is_ok());
}

#[test]
fn tokens_may_be_by_tenant_and_answers_by_actor() {
    let text = r#"[{"name":"shop","url":"https://mcp.example.com/mcp","auth_secret":"shop/{tenant}","list_secret":"shop/lists",
        "identity_secret":"shop/key","answer_bytes_max":4096,"retry":{"give_up_after_seconds":9},"errors_mean":"not_done",
        "tools":{"look_up":{"cache_seconds":60,"cache_scope":"actor","bind":{"/customer":"tenant"}}}}]"#;
    let server = parse(text).expect("it is sound").remove(0);
    let names = TenantSecrets::Template("shop/{tenant}".to_owned());
    assert_eq!(server.token, TokenSource::ByTenant { names, lists: Some("shop/lists".to_owned()) });
    assert_eq!((server.answer_bytes_max, server.retry.give_up_after), (4096, Some(Duration::from_secs(9))));
    assert_eq!(server.errors_mean, ErrorsMean::NotDone);
    let rules = &server.tools["look_up"];
    assert_eq!(rules.bind["/customer"], Bound::Tenant);
    assert_eq!(rules.cache.map(|cache| cache.scope), Some(windlass::agent::tool::CacheScope::Actor));
}
