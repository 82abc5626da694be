//! What the tests of the approval function stand on: a run that waits for the finance role, its ports in memory, and requests as
//! API Gateway passes them on.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{sync::Arc, time::Duration};

use approval::Desk;
use serde_json::{Value, json};
use windlass::{
    agent::model::Usage,
    approval::{Action, ApprovalRequest, Subject, token::ApprovalKeys},
    clock::{Clock, Timestamp},
    door::{Reads, rate},
    ids::{ApprovalId, CallId, RunId},
    journal::{HeadStatus, Heads as _, Journal},
    lease::{Claim, Leases as _, Leave},
    memory::{Buckets, ManualClock, Queue, Records, Runs, SecretValues, SeededRandom},
    run::{
        accept::{Incoming, Terms, accept},
        entry::{Decision, Entry, Event as Happened, Plan, PlannedCall, Writer},
        limits::Limits,
        outside::Outside,
        request::{RunRequest, Source},
    },
    secrets::SecretCache,
};
use windlass_http::{Claims, Event, Response};

pub const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);
pub const EXPIRES_AFTER: Duration = Duration::from_secs(1_800);
pub const SECRET: &str = "windlass/approval-keys";
const DAY: Duration = Duration::from_secs(86_400);

/// Keys of one repeated byte each, the first current.
pub fn keys(ids: &[(&str, &str)]) -> String {
    let keys: serde_json::Map<String, Value> = ids.iter().map(|(id, key)| ((*id).to_owned(), json!(key))).collect();
    json!({ "current": ids[0].0, "keys": keys }).to_string()
}

pub const KEY_1: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
pub const KEY_2: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

pub struct World {
    pub clock: Arc<ManualClock>,
    pub runs: Arc<Runs>,
    pub queue: Arc<Queue>,
    pub secrets: Arc<SecretValues>,
    pub desk: Desk,
    /// The role that runs ask for.
    pub asks: &'static str,
    random: SeededRandom,
    asked: std::sync::atomic::AtomicU64,
}

impl World {
    pub fn new() -> World {
        let clock = Arc::new(ManualClock::at(NOW));
        let shared: Arc<dyn Clock> = clock.clone();
        let runs = Arc::new(Runs::new(shared.clone(), &Records::new()));
        let queue = Arc::new(Queue::new(shared, DAY, 3));
        let secrets = Arc::new(SecretValues::new());
        secrets.set(SECRET, &keys(&[("k1", KEY_1)]));
        let desk = desk_with(clock.clone(), runs.clone(), queue.clone(), secrets.clone());
        World {
            clock,
            runs,
            queue,
            secrets,
            desk,
            asks: "finance",
            random: SeededRandom::new(2),
            asked: Default::default(),
        }
    }

    pub async fn send(&self, request: Request) -> Answer {
        Answer::of(self.desk.handle(request.event()).await)
    }

    /// A run of `actor` in `tenant` that waits for the finance role; the wake-up is taken off the queue.
    pub async fn asking(&self, tenant: &str, actor: &str, subject: Subject) -> ApprovalId {
        self.asking_for(tenant, actor, None, subject).await
    }

    /// The same, asked for a person.
    pub async fn asking_for(&self, tenant: &str, actor: &str, person: Option<&str>, subject: Subject) -> ApprovalId {
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
            tenant: tenant.parse().expect("a tenant"),
            actor: actor.parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: json!({}),
            roles: Default::default(),
        };
        let client_key = self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
        let person = person.map(|person| person.parse().expect("a person"));
        let incoming = Incoming { request, source: Source::Http, client_key, person, trace: None, admitted: None };
        let terms = Terms { limits: Limits::default(), key_kept_for: DAY, run_kept_for: 90 * DAY };
        let run = accept(&outside, &terms, incoming).await.expect("it is taken on").run();
        let id = ApprovalId { run, call: CallId(1), round: 1 };
        self.ask(id, tenant, subject).await;
        self.queue.lose_all();
        id
    }

    /// Appends what leads to the question, and leaves the run to wait.
    async fn ask(&self, id: ApprovalId, tenant: &str, subject: Subject) {
        let (now, run) = (self.clock.now(), id.run);
        let action = Action {
            tenant: tenant.parse().expect("a tenant"),
            tool: "refund".parse().expect("a tool"),
            arguments: json!({ "order": "A-1", "cents": 99_000 }),
        };
        let call = PlannedCall {
            id: id.call,
            tool: action.tool.clone(),
            arguments: action.arguments.clone(),
            redaction: Default::default(),
            echo: None,
        };
        let role: windlass::ids::Role = self.asks.parse().expect("a role");
        let asked = Happened::ApprovalRequested(Box::new(ApprovalRequest {
            id,
            subject,
            digest: action.digest(),
            action,
            role: role.clone(),
            reason: "more than 50.00".to_owned(),
            evidence: None,
            requested_at: now,
            expires_at: now + EXPIRES_AFTER,
            remind_at: None,
            escalate_to: None,
        }));
        let planned = Happened::Planned {
            plan: Plan::Call { calls: vec![call] },
            usage: Usage::default(),
            model: "script".to_owned(),
            prompt_version: "1".to_owned(),
        };
        let decision = match subject {
            Subject::Permission => Decision::RequireApproval { role, reason: "more than 50.00".to_owned() },
            Subject::Doubt => Decision::Allow { reason: "small".to_owned() },
        };
        let judged =
            Happened::PolicyDecided { call: id.call, decision, policy_version: "1".to_owned(), policies: Vec::new() };
        let attempted = Happened::ToolAttempted {
            call: id.call,
            attempt: 1,
            effect: windlass::agent::tool::Effect::Irreversible,
            compensable: false,
            deadline: now,
        };
        let events = match subject {
            Subject::Permission => vec![planned, judged, asked],
            Subject::Doubt => vec![planned, judged, attempted, asked],
        };
        self.append(run, 2, events).await;
        self.park(run).await;
    }

    pub async fn append(&self, run: RunId, seq: u32, events: Vec<Happened>) {
        let head = self.runs.head(run).await.expect("the store answers").expect("there is a head");
        let entry = Entry { at: self.clock.now(), writer: Writer::Holder(1), release: head.release, events };
        self.runs.append(run, seq, &entry, head.expires).await.expect("the store answers");
    }

    async fn park(&self, run: RunId) {
        let now = self.clock.now();
        let claim = self.runs.claim(run, "step", now, now + Duration::from_secs(30)).await.expect("the store answers");
        let Claim::Won(head, lease) = claim else { panic!("{claim:?}") };
        let until = Some(now + EXPIRES_AFTER);
        let status = HeadStatus::AwaitingApproval;
        let leave = Leave { status, ready_from: until, due: until, now, interjections: head.interjections, strikes: 0 };
        self.runs.leave(run, &lease, &leave).await.expect("the store answers");
    }

    pub async fn entries(&self, run: RunId) -> Vec<Entry> {
        self.runs.load(run, 1).await.expect("it can be read")
    }

    /// The token that the finance role is shown.
    pub async fn token(&self, id: ApprovalId) -> String {
        let shown = self.send(request("GET", &format!("/approvals/{id}"))).await;
        shown.body["token"].as_str().unwrap_or_else(|| panic!("{}", shown.body)).to_owned()
    }

    pub async fn decide(&self, id: ApprovalId, decision: &str, token: &str) -> Answer {
        self.send(deciding(id, decision, token)).await
    }
}

/// The finance role's decision.
pub fn deciding(id: ApprovalId, decision: &str, token: &str) -> Request {
    request("POST", &format!("/approvals/{id}")).json(&json!({ "decision": decision, "token": token }).to_string())
}

pub fn desk_with(
    clock: Arc<dyn Clock>,
    runs: Arc<Runs>,
    wake_ups: Arc<dyn windlass::queue::WakeUps>,
    secrets: Arc<dyn windlass::secrets::Secrets>,
) -> Desk {
    desk_over(clock, runs.clone(), runs, wake_ups, secrets)
}

pub fn desk_over(
    clock: Arc<dyn Clock>,
    journal: Arc<dyn Journal>,
    heads: Arc<dyn windlass::journal::Heads>,
    wake_ups: Arc<dyn windlass::queue::WakeUps>,
    secrets: Arc<dyn windlass::secrets::Secrets>,
) -> Desk {
    let parse = |text: &_| ApprovalKeys::parse(text).map_err(|error| error.to_string());
    Desk {
        telemetry: None,
        journal,
        heads,
        wake_ups,
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(1)),
        keys: Arc::new(SecretCache::new(secrets, clock.clone(), SECRET, parse)),
        release: "r1".parse().expect("a release"),
        claims: claims(),
        reads: Reads { limits: rate::Limits::OFF, buckets: Arc::new(Buckets::new()), clock },
    }
}

/// A request as it is being put together.
#[derive(Clone)]
pub struct Request {
    json: Value,
}

pub fn claims() -> Claims {
    Claims { tenant: "tenant".to_owned(), roles: "roles".to_owned(), person: None }
}

pub fn request(method: &str, path: &str) -> Request {
    let request = Request {
        json: json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": {},
            "requestContext": {
                "stage": "$default",
                "http": { "method": method, "path": path },
            },
            "isBase64Encoded": false,
        }),
    };
    request.by("fin", "acme", "[finance]")
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.json["headers"][name] = value.into();
        self
    }

    pub fn without_header(mut self, name: &str) -> Request {
        self.json["headers"].as_object_mut().expect("headers").remove(name);
        self
    }

    pub fn json(self, body: &str) -> Request {
        self.header("content-type", "application/json").body(body)
    }

    pub fn body(mut self, body: &str) -> Request {
        self.json["body"] = body.into();
        self
    }

    pub fn base64(mut self, body: &str) -> Request {
        self.json["isBase64Encoded"] = true.into();
        self.body(body)
    }

    pub fn query(mut self, name: &str, value: &str) -> Request {
        self.json["queryStringParameters"][name] = value.into();
        self
    }

    pub fn stage(mut self, stage: &str) -> Request {
        self.json["requestContext"]["stage"] = stage.into();
        self
    }

    /// By whoever bears a token with these claims; `roles` as API Gateway passes a list on: `[a b]`.
    pub fn by(self, actor: &str, tenant: &str, roles: &str) -> Request {
        let listed: Vec<&str> = roles.trim_matches(['[', ']']).split(' ').filter(|role| !role.is_empty()).collect();
        self.bearing(&json!({ "sub": actor, "tenant": tenant, "roles": listed }))
    }

    /// By whoever bears a token with these claims, which are texts and lists of texts.
    pub fn bearing(mut self, claims: &Value) -> Request {
        let flat = |value: &Value| match value {
            Value::Array(items) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                json!(format!("[{}]", items.join(" ")))
            }
            other => other.clone(),
        };
        let claimed = claims.as_object().expect("claims").iter();
        let passed: serde_json::Map<String, Value> = claimed.map(|(name, value)| (name.clone(), flat(value))).collect();
        self.json["requestContext"]["authorizer"] = json!({ "jwt": { "claims": passed, "scopes": null } });
        let payload = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims.to_string());
        self.header("authorization", &format!("Bearer e30.{payload}.c2ln"))
    }

    /// With what an authorizer passes on, and no token.
    pub fn claims(mut self, claims: Value) -> Request {
        self.json["requestContext"]["authorizer"] = claims;
        self.without_header("authorization")
    }

    pub fn event(self) -> Event {
        serde_json::from_value(self.json).expect("an event")
    }
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: i64,
    pub body: Value,
    response: Response,
}

impl Answer {
    pub fn of(response: Response) -> Answer {
        let wire = serde_json::to_value(&response).expect("a response");
        let body = wire["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        Answer { status: response.status_code, body, response }
    }

    pub fn header(&self, name: &str) -> &str {
        self.response.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The last part of the problem's type.
    pub fn problem(&self) -> &str {
        let slug = self.body["type"].as_str().and_then(|name| name.strip_prefix("urn:windlass:problem:"));
        slug.unwrap_or("no problem")
    }
}
