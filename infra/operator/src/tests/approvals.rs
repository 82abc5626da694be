//! `windlass approvals`, over answers as the HTTP API gives them.

use std::sync::Mutex;

use expect_test::expect;
use serde_json::{Value, json};

use super::world::types_to;
use crate::api::{Answer, Api, ApiError};

/// An API with one approval, which remembers what was posted.
struct OneApproval {
    shown: Value,
    posted: Mutex<Vec<(String, Value)>>,
}

const ID: &str = "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1";

fn api(change: fn(&mut Value)) -> OneApproval {
    let mut shown = json!({
        "id": ID, "run_id": "01JHD7Z3ZK8V6N5Q4R3S2T1W0X", "status": "open", "subject": "permission",
        "action": { "tool": "refund_order", "arguments": { "order": "A-1", "cents": 250_000 } },
        "digest": "9f86d081", "role": "finance", "reason": "more than 50.00", "may_decide": true, "token": "one-time",
        "requested_at": "2026-09-21T13:33:20.000Z", "expires_at": "2026-09-22T13:33:20.000Z"
    });
    change(&mut shown);
    OneApproval { shown, posted: Mutex::default() }
}

impl OneApproval {
    /// As it is in a list.
    fn listed(&self) -> Value {
        let mut listed = self.shown.clone();
        listed["tool"] = listed["action"]["tool"].clone();
        listed
    }
}

impl Api for OneApproval {
    fn get<'a>(&'a self, path: &'a str) -> Answer<'a> {
        Box::pin(async move {
            match path.strip_prefix("/approvals") {
                Some("") => Ok(json!({ "approvals": [], "next": "1-2" })),
                Some("?after=1-2") => Ok(json!({ "approvals": [self.listed()] })),
                Some(rest) if rest == format!("/{ID}") => Ok(self.shown.clone()),
                _ => Err(ApiError::Problem { status: 404, detail: format!("there is nothing at `{path}`") }),
            }
        })
    }

    fn post<'a>(&'a self, path: &'a str, body: &'a Value) -> Answer<'a> {
        Box::pin(async move {
            self.posted.lock().expect("no panic").push((path.to_owned(), body.clone()));
            Ok(json!({ "id": ID, "status": body["decision"], "decided_by": "fin" }))
        })
    }
}

#[tokio::test]
async fn approvals_are_listed_and_shown_without_their_tokens() {
    let api = api(|_| {});
    expect![[r#"
        APPROVAL                        TOOL          QUESTION    ROLE     EXPIRES                   YOURS  REASON
        01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1  refund_order  permission  finance  2026-09-22T13:33:20.000Z  yes    more than 50.00
    "#]].assert_eq(&types_to(&api, "approvals list").await);
    expect![[r#"
        approval   01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1
        status     open
        question   may it be done?
        tool       refund_order
        arguments  {"order":"A-1","cents":250000}
        digest     9f86d081
        role       finance
        reason     more than 50.00
        asked      2026-09-21T13:33:20.000Z
        expires    2026-09-22T13:33:20.000Z
    "#]]
    .assert_eq(&types_to(&api, &format!("approvals show {ID}")).await);
    let json = types_to(&api, &format!("approvals show {ID} --json")).await;
    assert!(json.contains("refund_order") && !json.contains("one-time"), "{json}");
}

#[tokio::test]
async fn a_decision_shows_the_exact_action_and_goes_with_the_one_time_token() {
    let api = api(|_| {});
    expect![[r#"
        01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1: approved by fin
        ! approval   01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1
        ! status     open
        ! question   may it be done?
        ! tool       refund_order
        ! arguments  {"order":"A-1","cents":250000}
        ! digest     9f86d081
        ! role       finance
        ! reason     more than 50.00
        ! asked      2026-09-21T13:33:20.000Z
        ! expires    2026-09-22T13:33:20.000Z
    "#]]
    .assert_eq(&types_to(&api, &format!("approvals approve {ID} --note 'checked the order'")).await);
    types_to(&api, &format!("approvals deny {ID}")).await;
    let posted = api.posted.lock().expect("no panic").clone();
    let path = format!("/approvals/{ID}");
    let approved = json!({ "decision": "approved", "token": "one-time", "note": "checked the order" });
    let denied = json!({ "decision": "denied", "token": "one-time" });
    assert_eq!(posted, [(path.clone(), approved), (path, denied)]);
}

#[tokio::test]
async fn what_the_caller_may_not_decide_is_not_posted() {
    let foreign = api(|shown| {
        shown["token"] = Value::Null;
        shown["why_not"] = json!("it takes the role `finance`");
    });
    expect![[r#"
        ! error: approval `01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1` cannot be decided: it takes the role `finance`
        ! hint: see who may with `windlass approvals show`
        exit 1
    "#]]
    .assert_eq(&types_to(&foreign, &format!("approvals approve {ID}")).await);
    assert!(foreign.posted.lock().expect("no panic").is_empty());
    let decided = api(|shown| {
        shown["token"] = Value::Null;
        shown["status"] = json!("denied");
    });
    expect![[r#"
        ! error: approval `01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1` cannot be decided: it is denied
        ! hint: see who may with `windlass approvals show`
        exit 1
    "#]]
    .assert_eq(&types_to(&decided, &format!("approvals approve {ID}")).await);
}

#[tokio::test]
async fn a_problem_is_told_as_the_api_tells_it() {
    let unknown = "approvals show 01JHD7Z3ZK8V6N5Q4R3S2T1W0X-9-9";
    expect![[r#"
        ! error: the API answered 404: there is nothing at `/approvals/01JHD7Z3ZK8V6N5Q4R3S2T1W0X-9-9`
        ! hint: list what is open with `windlass approvals list`
        exit 1
    "#]]
    .assert_eq(&types_to(&api(|_| {}), unknown).await);
}
