//! Limits, readiness and what they cost, on the local stack.

use std::time::Duration;

use serde_json::json;
use windlass_operator::stack::Options;
use windlass_tests::local_kit::{Kit, binaries};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_beyond_its_limit_is_told_when_to_come_back_and_its_repetitions_are_answered() {
    let mut options = Options::new(binaries().await);
    options.env.insert("ACTOR_RATE_LIMIT".to_owned(), "3/600:3".to_owned());
    let kit = Kit::start(&options).await;
    let payload = json!({ "order": "A-1001", "amount_cents": 100 });
    let before = kit.stack.meter();
    let first = kit.submit("1", "refund", payload.clone()).await;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.headers["ratelimit-policy"], r#""actor";q=3;w=600, "tenant";q=150;w=3"#);
    assert!(
        first.headers["ratelimit"].to_str().is_ok_and(|left| left.starts_with(r#""actor";r=2;t=200"#)),
        "{first:?}"
    );
    let run = first.body["run_id"].as_str().expect("a run").to_owned();
    kit.until(&run, &["completed"], SOON).await;
    for key in ["2", "3"] {
        assert_eq!(kit.submit(key, "refund", payload.clone()).await.status, 202);
    }
    let refused = kit.submit("4", "refund", payload.clone()).await;
    assert_eq!(
        (refused.status, &refused.body["type"]),
        (429, &json!("urn:windlass:problem:rate-limited")),
        "{refused:?}"
    );
    assert!(
        refused.headers["retry-after"].to_str().is_ok_and(|after| after.parse().is_ok_and(|after: u32| after <= 200))
    );
    let repeated = kit.submit("1", "refund", payload).await;
    assert_eq!((repeated.status, repeated.body["run_id"].as_str()), (200, Some(run.as_str())), "{repeated:?}");
    // Three tokens of both buckets took three writes; the step function writes to heads and not under these names' errors.
    let errors = kit.stack.meter().since(&before).errors;
    let refused_writes: u64 =
        errors.iter().filter(|(name, _)| name.starts_with("DynamoDB.UpdateItem Cond")).map(|(_, count)| count).sum();
    assert!(refused_writes <= 2, "{errors:?}");
    kit.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_is_there_for_everybody_and_names_what_is_needed() {
    let kit = Kit::start(&Options::new(binaries().await)).await;
    let ready = kit.send("GET", "/ready", "", None, None).await;
    let parts = json!({ "runs": "ok", "idempotency": "ok", "controls": "ok", "queue": "ok", "secrets": "ok" });
    assert_eq!((ready.status, &ready.body["parts"]), (200, &parts), "{ready:?}");
    let health = kit.send("GET", "/health", "", None, None).await;
    assert_eq!((health.status, &health.body["release"]), (200, &json!("local")));
    kit.stack.shutdown().await;
}
