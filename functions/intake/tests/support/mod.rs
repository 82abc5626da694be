//! What the tests of the intake function stand on: its ports in memory, and requests as API Gateway passes them on.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{sync::Arc, time::Duration};

use intake::Intake;
use serde_json::{Value, json};
use windlass::{
    budgets::Allowance,
    clock::{Clock, Timestamp},
    door::{
        Door, Reads,
        pressure::{Bounds, Gauge},
        rate,
        readiness::Readiness,
    },
    memory::{Accounts, Buckets, Controls, ManualClock, Plans, Queue, Records, Runs, SeededRandom},
    run::{accept::Terms, limits::Limits},
};
use windlass_http::{Claims, Event, Response};

pub const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

pub struct World {
    pub clock: Arc<ManualClock>,
    pub runs: Arc<Runs>,
    pub queue: Arc<Queue>,
    pub intake: Arc<Intake>,
}

impl World {
    pub fn new() -> World {
        World::with(|_| {})
    }

    /// With another intake.
    pub fn with(change: impl FnOnce(&mut Intake)) -> World {
        let clock = Arc::new(ManualClock::at(NOW));
        let shared: Arc<dyn Clock> = clock.clone();
        let runs = Arc::new(Runs::new(shared.clone(), &Records::new()));
        let queue = Arc::new(Queue::new(shared, DAY, 3));
        let mut intake = intake_with(clock.clone(), runs.clone(), runs.clone(), queue.clone());
        intake.requests = runs.clone();
        change(&mut intake);
        World { clock, runs, queue, intake: Arc::new(intake) }
    }

    pub async fn send(&self, request: Request) -> Answer {
        Answer::of(self.intake.handle(request.event()).await)
    }

    /// Takes a request of ada's on and says which run it is.
    pub async fn submit(&self, key: &str) -> String {
        let answer = self.send(submission(key)).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.body["run_id"].as_str().expect("there is a run").to_owned()
    }
}

pub fn intake_with(
    clock: Arc<dyn Clock>,
    journal: Arc<dyn windlass::journal::Journal>,
    heads: Arc<dyn windlass::journal::Heads>,
    wake_ups: Arc<dyn windlass::queue::WakeUps>,
) -> Intake {
    let queue = Arc::new(Queue::new(clock.clone(), DAY, 3));
    let buckets = Arc::new(Buckets::new());
    Intake {
        telemetry: None,
        journal,
        heads,
        wake_ups,
        door: Door {
            limits: rate::Limits::OFF,
            reads: Reads { limits: rate::Limits::OFF, buckets: buckets.clone(), clock: clock.clone() },
            waits: rate::Limits::OFF,
            buckets,
            gauge: Gauge::new(queue, clock.clone(), Bounds::OFF),
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(2)),
        },
        requests: Arc::new(Runs::new(clock.clone(), &Records::new())),
        readiness: Readiness::new(Vec::new(), clock.clone()),
        controls: Arc::new(Controls::new(&Plans::new(clock.clone()))),
        budgets: Arc::new(Accounts::new()),
        allowance: Allowance::default(),
        clock,
        random: Arc::new(SeededRandom::new(1)),
        release: "r1".parse().expect("a release"),
        tasks: "refund,refund/eu".parse().expect("tasks"),
        terms: Terms { limits: Limits::default(), key_kept_for: DAY, run_kept_for: 90 * DAY },
        redactions: windlass::redaction::Redactions::default(),
        claims: claims(),
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
    request.by("ada", "acme", "[submitter]")
}

/// Ada's good request.
pub fn submission(key: &str) -> Request {
    request("POST", "/runs").header("idempotency-key", key).json(r#"{"task":"refund","payload":{"order":"A-1"}}"#)
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

    /// On a route, at the path that API Gateway passes on.
    pub fn path(mut self, route: &str, path: &str) -> Request {
        self.json["routeKey"] = route.into();
        self.json["requestContext"]["routeKey"] = route.into();
        self.json["rawPath"] = path.into();
        self.json["requestContext"]["http"]["path"] = path.into();
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
