//! Events of API Gateway, at intake and approval.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use approval::Desk;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use intake::Intake;
use serde_json::{Value, json};
use windlass::{
    agent::model::Usage,
    approval::{Action, ApprovalRequest, Subject, token::ApprovalKeys},
    budgets::Allowance,
    clock::{Clock, Timestamp},
    door::{
        Door, Reads,
        pressure::{Bounds, Gauge},
        rate,
        readiness::Readiness,
    },
    ids::{ApprovalId, CallId, RunId},
    journal::Journal as _,
    memory::{Accounts, Buckets, Controls, ManualClock, Plans, Queue, Records, Runs, SecretValues, SeededRandom},
    redaction::Redactions,
    run::{
        accept::{Incoming, Terms, accept},
        entry::{Decision, Entry, Event as Happened, Plan, PlannedCall, Writer},
        limits::Limits,
        outside::Outside,
        request::{RunRequest, Source},
        state::RunState,
    },
    secrets::SecretCache,
};
use windlass_http::{Claims, Event, Response};

use super::{super::Said, file};

const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn terms() -> Terms {
    Terms { limits: Limits::default(), key_kept_for: DAY, run_kept_for: DAY }
}

/// The most times that an answer waits for the clock.
const WAITS_MAX: usize = 10_000;

struct World {
    clock: Arc<ManualClock>,
    runs: Arc<Runs>,
    queue: Arc<Queue>,
    random: SeededRandom,
}

impl World {
    fn new() -> World {
        let clock = Arc::new(ManualClock::at(NOW));
        World {
            runs: Arc::new(Runs::new(clock.clone(), &Records::new())),
            queue: Arc::new(Queue::new(clock.clone(), DAY, 3)),
            random: SeededRandom::new(2),
            clock,
        }
    }

    /// Waits for what waits for time, in no time.
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..WAITS_MAX {
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => return value,
                Poll::Pending => {
                    self.clock.set(self.clock.next_wake().expect("it waits for time").max(self.clock.now()))
                }
            }
        }
        panic!("it waits more than {WAITS_MAX} times");
    }

    /// A run of ada's.
    fn run(&self) -> RunId {
        let release = "r1".parse().expect("a release");
        let outside = Outside {
            journal: self.runs.as_ref(),
            wake_ups: self.queue.as_ref(),
            clock: self.clock.as_ref(),
            random: &self.random,
            release: &release,
            telemetry: None,
        };
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: json!({}),
            roles: Default::default(),
        };
        let incoming = Incoming {
            request,
            source: Source::Http,
            client_key: "k".to_owned(),
            person: None,
            trace: None,
            admitted: None,
        };
        self.wait(accept(&outside, &terms(), incoming)).expect("it is taken on").run()
    }

    /// What must hold for any answer.
    fn check(&self, response: &Response) -> Said {
        for head in self.runs.all_heads() {
            let entries = self.wait(self.runs.load(head.run, 1)).expect("it can be read");
            RunState::fold(&entries).expect("it folds");
        }
        let wire = serde_json::to_value(response).expect("an answer has JSON");
        let body: Value = serde_json::from_str(wire["body"].as_str().unwrap_or("{}")).expect("a body is JSON");
        let status = response.status_code;
        assert!((200..500).contains(&status), "status {status}");
        if status < 400 {
            return Said::Taken(format!("status {}", char::from_u32(0x2460 + status as u32 - 200).unwrap_or('?')));
        }
        let problem = body["type"].as_str().and_then(|name| name.strip_prefix("urn:windlass:problem:"));
        Said::refused(format!(
            "{} {}",
            problem.expect("a refusal is a problem"),
            body["detail"].as_str().unwrap_or_default()
        ))
    }
}

fn claims() -> Claims {
    Claims { tenant: "tenant".to_owned(), roles: "roles".to_owned(), person: None }
}

fn event(method: &str, path: &str, by: &str, roles: &str, body: Option<Value>) -> Value {
    let listed: Vec<&str> = roles.trim_matches(['[', ']']).split(' ').filter(|role| !role.is_empty()).collect();
    let token = json!({ "sub": by, "tenant": "acme", "roles": listed }).to_string();
    let bearer = format!("Bearer e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(token));
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": { "authorization": bearer, "content-type": "application/json", "idempotency-key": "k-2", "prefer": "wait=1" },
        "queryStringParameters": { "from": "1", "limit": "2" },
        "requestContext": {
            "stage": "$default",
            "http": { "method": method, "path": path },
            "authorizer": { "jwt": { "claims": { "sub": by, "tenant": "acme", "roles": roles }, "scopes": null } },
        },
        "isBase64Encoded": false,
    });
    if let Some(body) = body {
        event["body"] = body.to_string().into();
    }
    event
}

pub fn intake_seeds() -> Vec<Vec<u8>> {
    let run = World::new().run();
    let submission = json!({ "task": "refund", "payload": { "order": "A-1" } });
    let built = [
        event("POST", "/runs", "ada", "[submitter]", Some(submission)),
        event("GET", &format!("/runs/{run}"), "ada", "[submitter]", None),
        event("GET", &format!("/runs/{run}/journal"), "ada", "[submitter operator]", None),
        event("POST", &format!("/runs/{run}/cancel"), "ada", "[submitter]", Some(json!({ "reason": "no" }))),
        event("GET", "/health", "ada", "", None),
    ];
    let built = built.into_iter().map(|event| event.to_string().into_bytes());
    built.chain([file("events/http-post-runs.json")]).collect()
}

/// One request, with a run of ada's there.
pub fn intake(input: &[u8]) -> Said {
    let event: Event = match serde_json::from_slice(input) {
        Ok(event) => event,
        Err(error) => return Said::refused(error),
    };
    let world = World::new();
    world.run();
    let buckets = Arc::new(Buckets::new());
    let intake = Intake {
        telemetry: None,
        journal: world.runs.clone(),
        heads: world.runs.clone(),
        wake_ups: world.queue.clone(),
        door: Door {
            limits: rate::Limits::OFF,
            reads: reads(&world),
            waits: rate::Limits::OFF,
            buckets,
            gauge: Gauge::new(world.queue.clone(), world.clock.clone(), Bounds::OFF),
            clock: world.clock.clone(),
            random: Arc::new(SeededRandom::new(2)),
        },
        requests: world.runs.clone(),
        readiness: Readiness::new(Vec::new(), world.clock.clone()),
        controls: Arc::new(Controls::new(&Plans::new(world.clock.clone()))),
        budgets: Arc::new(Accounts::new()),
        allowance: Allowance::default(),
        clock: world.clock.clone(),
        random: Arc::new(SeededRandom::new(1)),
        release: "r1".parse().expect("a release"),
        terms: terms(),
        tasks: crate::simulation::tasks(),
        redactions: Redactions::default(),
        claims: claims(),
    };
    let response = world.wait(intake.handle(event));
    world.check(&response)
}

/// A run of ada's that waits for the finance role.
fn asking(world: &World) -> ApprovalId {
    let run = world.run();
    let id = ApprovalId { run, call: CallId(1), round: 1 };
    let action = Action {
        tenant: "acme".parse().expect("a tenant"),
        tool: "refund".parse().expect("a tool"),
        arguments: json!({ "order": "A-1", "cents": 99_000 }),
    };
    let (role, reason) = ("finance".parse().expect("a role"), "more than 50.00".to_owned());
    let asked = ApprovalRequest {
        id,
        subject: Subject::Permission,
        digest: action.digest(),
        role,
        reason: reason.clone(),
        evidence: None,
        requested_at: NOW,
        expires_at: NOW + DAY,
        remind_at: None,
        escalate_to: None,
        action: action.clone(),
    };
    let calls = vec![PlannedCall {
        id: id.call,
        tool: action.tool,
        arguments: action.arguments,
        redaction: Default::default(),
        echo: None,
    }];
    let events = vec![
        Happened::Planned {
            plan: Plan::Call { calls },
            usage: Usage::default(),
            model: "script".to_owned(),
            prompt_version: "1".to_owned(),
        },
        Happened::PolicyDecided {
            call: id.call,
            decision: Decision::RequireApproval { role: asked.role.clone(), reason },
            policy_version: "1".to_owned(),
            policies: Vec::new(),
        },
        Happened::ApprovalRequested(Box::new(asked)),
    ];
    let entry = Entry { at: NOW, writer: Writer::Holder(1), release: "r1".parse().expect("a release"), events };
    world.wait(world.runs.append(run, 2, &entry, NOW + DAY)).expect("the store answers");
    id
}

fn desk(world: &World) -> Desk {
    let secrets = SecretValues::new();
    let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    secrets.set("keys", &json!({ "current": "k1", "keys": { "k1": key } }).to_string());
    let parse = |text: &_| ApprovalKeys::parse(text).map_err(|error| error.to_string());
    Desk {
        telemetry: None,
        journal: world.runs.clone(),
        heads: world.runs.clone(),
        wake_ups: world.queue.clone(),
        clock: world.clock.clone(),
        random: Arc::new(SeededRandom::new(1)),
        keys: Arc::new(SecretCache::new(Arc::new(secrets), world.clock.clone(), "keys", parse)),
        release: "r1".parse().expect("a release"),
        claims: claims(),
        reads: reads(world),
    }
}

/// Nobody is limited.
fn reads(world: &World) -> Reads {
    Reads { limits: rate::Limits::OFF, buckets: Arc::new(Buckets::new()), clock: world.clock.clone() }
}

/// The token that the finance role is shown.
fn token(world: &World, desk: &Desk, id: ApprovalId) -> String {
    let show = event("GET", &format!("/approvals/{id}"), "fin", "[finance]", None);
    let shown = world.wait(desk.handle(serde_json::from_value(show).expect("an event")));
    let shown = serde_json::to_value(&shown).expect("an answer has JSON");
    let body: Value = serde_json::from_str(shown["body"].as_str().expect("a body")).expect("JSON");
    body["token"].as_str().expect("there is a token").to_owned()
}

pub fn approval_seeds() -> Vec<Vec<u8>> {
    let world = World::new();
    let (id, path) = (asking(&world), |id: &str| format!("/approvals/{id}"));
    let token = token(&world, &desk(&world), id);
    let deciding = |token: &str| Some(json!({ "decision": "approved", "token": token, "note": "fine" }));
    let events = [
        event("GET", "/approvals", "fin", "[finance]", None),
        event("GET", &path(&id.to_string()), "fin", "[finance]", None),
        event("POST", &path(&id.to_string()), "fin", "[finance]", deciding(&token)),
        event("POST", &path(&id.to_string()), "fin", "[finance]", deciding(&token.replace('A', "B"))),
    ];
    events.into_iter().map(|event| event.to_string().into_bytes()).collect()
}

/// One request, with a run there that waits for the finance role.
pub fn approval(input: &[u8]) -> Said {
    let event: Event = match serde_json::from_slice(input) {
        Ok(event) => event,
        Err(error) => return Said::refused(error),
    };
    let world = World::new();
    let (id, desk) = (asking(&world), desk(&world));
    let token = token(&world, &desk, id);
    let body = event.body.clone().unwrap_or_default();
    let is_base64 = event.is_base64_encoded;
    let claims = serde_json::to_string(&event.request_context.authorizer).unwrap_or_default();
    let response = world.wait(desk.handle(event));
    let entries = world.wait(world.runs.load(id.run, 1)).expect("it can be read");
    let decided =
        entries.iter().flat_map(|entry| &entry.events).any(|event| matches!(event, Happened::ApprovalDecided { .. }));
    if decided {
        // JSON may write any character of it as an escape.
        let shown = body.contains(&token) || body.contains('\\') || is_base64;
        assert!(shown, "decided without the token");
        assert!(claims.contains("finance"), "decided by somebody else");
    }
    world.check(&response)
}
