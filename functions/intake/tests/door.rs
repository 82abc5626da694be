//! Who is turned away at the door, and who is not.

mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use support::{Answer, World, request, submission};
use windlass::{
    door::{
        pressure::{Bound, Bounds, Gauge},
        rate::{Backlog, Limits},
        readiness::{Part, Readiness},
    },
    queue::QueueError,
};

/// A queue in which so much waits.
struct Waits(u64);

#[async_trait]
impl Backlog for Waits {
    async fn waiting(&self) -> Result<u64, QueueError> {
        Ok(self.0)
    }
}

fn limited(tenant: &str, actor: &str) -> World {
    let limits =
        Limits { tenant: tenant.parse().expect("a limit"), actor: actor.parse().expect("a limit"), ..Limits::OFF };
    World::with(|intake| intake.door.limits = limits)
}

fn is(answer: &Answer, status: i64, problem: &str) {
    assert_eq!((answer.status, answer.problem()), (status, problem), "{}", answer.body);
}

#[tokio::test]
async fn each_answer_says_what_is_left_and_the_refusal_when_to_come_back() {
    let world = limited("100/1:100", "1/10:2");
    let first = world.send(submission("1")).await;
    assert_eq!(first.status, 202, "{}", first.body);
    assert_eq!(first.header("ratelimit-policy"), r#""actor";q=2;w=20, "tenant";q=100;w=1"#);
    assert_eq!(first.header("ratelimit"), r#""actor";r=1;t=10, "tenant";r=99;t=1"#);
    world.submit("2").await;
    let refused = world.send(submission("3")).await;
    is(&refused, 429, "rate-limited");
    assert_eq!(
        (refused.header("retry-after"), &refused.body["violated-policies"]),
        ("10", &serde_json::json!(["actor"]))
    );
    assert_eq!(refused.header("ratelimit"), r#""actor";r=0;t=20, "tenant";r=98;t=1"#);
    world.clock.advance(Duration::from_secs(10));
    world.submit("3").await;
}

#[tokio::test]
async fn an_actors_limit_is_its_own_and_a_tenants_is_its_actors_together() {
    let world = limited("1/10:3", "1/10:2");
    for (key, actor, tenant, status) in [
        ("1", "ada", "acme", 202),
        ("2", "ada", "acme", 202),
        ("3", "ada", "acme", 429),
        ("4", "bob", "acme", 202),
        ("5", "bob", "acme", 429),
        ("6", "ada", "umbrella", 202),
    ] {
        let answer = world.send(submission(key).by(actor, tenant, "")).await;
        assert_eq!(answer.status, status, "{key}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_repetition_of_what_was_taken_on_is_answered_however_empty_the_bucket() {
    let world = limited("off", "1/60:1");
    let run = world.submit("k").await;
    for _ in 0..3 {
        let repeated = world.send(submission("k")).await;
        assert_eq!((repeated.status, &repeated.body["run_id"]), (202, &Value::from(run.as_str())), "{}", repeated.body);
    }
    is(&world.send(submission("other")).await, 429, "rate-limited");
    let changed = submission("k").json(r#"{"task":"refund","payload":{"order":"A-2"}}"#);
    is(&world.send(changed).await, 422, "idempotency-key-reused");
    world.clock.advance(Duration::from_secs(60));
    world.submit("other").await;
}

#[tokio::test]
async fn while_too_much_waits_nothing_new_is_taken_on_and_repetitions_are_answered() {
    let world = World::new();
    let run = world.submit("k").await;
    let full = World::with(|intake| {
        let bounds = Bounds { busy: Bound::Off, full: Bound::Messages(10) };
        intake.door.gauge = Gauge::new(Arc::new(Waits(20)), world.clock.clone(), bounds);
        intake.journal = world.runs.clone();
        intake.requests = world.runs.clone();
    });
    let refused = full.send(submission("new")).await;
    is(&refused, 503, "overloaded");
    assert!((10..=20).contains(&refused.header("retry-after").parse::<u32>().expect("seconds")));
    let repeated = full.send(submission("k")).await;
    assert_eq!((repeated.status, &repeated.body["run_id"]), (202, &Value::from(run.as_str())));
    assert_eq!(world.runs.all_heads().len(), 1, "nothing was written");
}

#[tokio::test]
async fn who_looks_too_often_is_refused_and_may_start_runs_all_the_same() {
    let limits = Limits { actor: "1/10:2".parse().expect("a limit"), ..Limits::OFF };
    let world = World::with(|intake| intake.door.reads.limits = limits);
    let run = world.submit("k").await;
    assert_eq!(world.send(request("GET", &format!("/runs/{run}"))).await.status, 200);
    assert_eq!(world.send(request("POST", &format!("/runs/{run}/cancel"))).await.status, 202);
    for path in [format!("/runs/{run}"), format!("/runs/{run}/journal")] {
        let refused = world.send(request("GET", &path)).await;
        is(&refused, 429, "rate-limited");
        assert_eq!(refused.header("retry-after"), "10");
    }
    world.submit("another").await;
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.send(request("GET", &format!("/runs/{run}"))).await.status, 200);
}

#[tokio::test]
async fn who_waits_too_often_is_answered_at_once_and_told_when_to_wait_again() {
    let limits = Limits { actor: "1/25:1".parse().expect("a limit"), ..Limits::OFF };
    let world = World::with(|intake| intake.door.waits = limits);
    let first = world.send(submission("1").header("prefer", "wait=0")).await;
    assert_eq!((first.status, first.header("preference-applied")), (202, "wait=0"));
    let second = world.send(submission("2").header("prefer", "wait=20")).await;
    assert_eq!((second.status, second.header("retry-after")), (202, "25"), "{}", second.body);
    assert_eq!(second.header("preference-applied"), "");
    assert_eq!(world.runs.all_heads().len(), 2, "both are taken on");
}

#[tokio::test]
async fn starting_runs_and_looking_at_them_take_tokens_apart() {
    let world = limited("off", "1/60:1");
    let run = world.submit("k").await;
    for _ in 0..3 {
        assert_eq!(world.send(request("GET", &format!("/runs/{run}"))).await.status, 200);
        assert_eq!(world.send(request("GET", "/health")).await.status, 200);
    }
    assert_eq!(world.send(request("POST", &format!("/runs/{run}/cancel"))).await.status, 202);
}

struct Reaches(&'static str, bool);

#[async_trait]
impl Part for Reaches {
    fn name(&self) -> &'static str {
        self.0
    }
    async fn reach(&self) -> Result<(), String> {
        if self.1 { Ok(()) } else { Err("table `windlass-runs` not found".to_owned()) }
    }
}

#[tokio::test]
async fn health_says_which_release_answers_and_readiness_what_cannot_be_reached() {
    let health = World::new().send(request("GET", "/health").claims(Value::Null)).await;
    assert_eq!((health.status, &health.body["status"], &health.body["release"]), (200, &"ok".into(), &"r1".into()));
    for (reached, status) in [(true, 200), (false, 503)] {
        let world = World::with(|intake| {
            let parts: Vec<Arc<dyn Part>> = vec![Arc::new(Reaches("runs", reached)), Arc::new(Reaches("queue", true))];
            intake.readiness = Readiness::new(parts, intake.clock.clone());
        });
        let ready = world.send(request("GET", "/ready").claims(Value::Null)).await;
        assert_eq!((ready.status, &ready.body["parts"]["queue"]), (status, &"ok".into()), "{}", ready.body);
        assert!(!ready.body.to_string().contains("windlass-runs"), "no resource is named: {}", ready.body);
        if !reached {
            is(&ready, 503, "not-ready");
            assert_eq!(&ready.body["parts"]["runs"], "unreachable");
        }
        is(&world.send(request("POST", "/ready").claims(Value::Null)).await, 405, "method-not-allowed");
    }
}
