use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use super::*;
use crate::{
    clock::SystemClock,
    memory::{ManualClock, SecretValues, SeededRandom},
};

const KEYS: &str = r#"{"current":"k1","keys":{"k1":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}"#;
const NAME: &str = "windlass/approval-keys";
const PUBLIC_NAME: &str = "windlass/approval-public-keys";

fn public() -> String {
    ApprovalKeys::parse(&KEYS.into()).expect("they are keys").public()
}

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "ENVIRONMENT" => "dev",
        "RELEASE" => "r1",
        "STEP_QUEUE_URL" | "STEP_DEAD_LETTER_QUEUE_URL" => "http://127.0.0.1/q",
        "APPROVAL_SECRET" => NAME,
        "APPROVAL_PUBLIC_SECRET" => PUBLIC_NAME,
        "TASKS" => "refund",
        table if table.ends_with("_TABLE") => "table",
        _ => return None,
    };
    Some(value.to_owned())
}

fn holding(value: Option<&str>) -> Arc<dyn Secrets> {
    let secrets = SecretValues::new();
    value.into_iter().for_each(|value| secrets.set(NAME, value));
    secrets.set(PUBLIC_NAME, &public());
    Arc::new(secrets)
}

async fn starting(lookup: impl Fn(&str) -> Option<String>, secrets: Arc<dyn Secrets>) -> Result<Ready, NotReady> {
    prepare(lookup, secrets, Arc::new(SystemClock), &SeededRandom::new(1), Access::Signs).await
}

#[tokio::test]
async fn a_function_starts_with_its_configuration_and_its_keys() {
    let ready = starting(lookup, holding(Some(KEYS))).await.expect("nothing is missing");
    assert_eq!(ready.config.runtime.release.as_str(), "r1");
    assert!(ready.approval_keys.get().await.is_ok());
}

/// A store in which only some secrets may be read.
struct Guarded {
    secrets: Arc<dyn Secrets>,
    readable: &'static [&'static str],
}

#[async_trait]
impl Secrets for Guarded {
    async fn get(&self, name: &str) -> Result<SecretString, SecretError> {
        match self.readable.contains(&name) {
            true => self.secrets.get(name).await,
            false => Err(SecretError::Refused { name: name.to_owned(), message: "AccessDenied".to_owned() }),
        }
    }

    async fn exists(&self, name: &str) -> Result<(), SecretError> {
        self.secrets.exists(name).await
    }
}

#[tokio::test]
async fn only_the_function_that_signs_reads_the_signing_keys_and_none_starts_without_them() {
    for (access, readable) in
        [(Access::Signs, &[NAME, PUBLIC_NAME][..]), (Access::Verifies, &[PUBLIC_NAME][..]), (Access::Neither, &[][..])]
    {
        let start = async |secrets: Arc<dyn Secrets>| {
            let guarded = Arc::new(Guarded { secrets, readable });
            prepare(lookup, guarded, Arc::new(SystemClock), &SeededRandom::new(1), access).await
        };
        assert!(start(holding(Some(KEYS))).await.is_ok(), "{access:?}");
        let missing = start(holding(None)).await.expect_err("the keys are missing");
        assert_eq!(missing.secrets, [SecretError::Missing { name: NAME.to_owned() }], "{access:?}");
        let unverifiable = SecretValues::new();
        unverifiable.set(NAME, KEYS);
        let missing = start(Arc::new(unverifiable)).await.expect_err("the public halves are missing");
        assert_eq!(missing.secrets, [SecretError::Missing { name: PUBLIC_NAME.to_owned() }], "{access:?}");
    }
}

#[tokio::test]
async fn keys_whose_decisions_nobody_could_verify_stop_the_start() {
    let secrets = SecretValues::new();
    secrets.set(NAME, &KEYS.replace("AAEC", "BBEC"));
    secrets.set(PUBLIC_NAME, &public());
    let message = starting(lookup, Arc::new(secrets)).await.expect_err("they do not fit").to_string();
    assert!(message.contains("`windlass/approval-public-keys`") && message.contains("public half"), "{message}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_in_one_message_with_one_hint_each() {
    let lookup = |name: &str| match name {
        "RUNS_TABLE" => None,
        "STRIKES_MAX" => Some("many".to_owned()),
        other => lookup(other),
    };
    let message = starting(lookup, holding(None)).await.expect_err("three are wrong").to_string();
    expect_test::expect![[r#"
        not started, nothing was polled: 3 problems
          `RUNS_TABLE` is required and not set; hint: set it to the name of the DynamoDB table of heads and journals
          `STRIKES_MAX` is `many`, which is not a whole number; hint: use 1 to 20
          secret `windlass/approval-keys` does not exist; hint: create the secret, or correct the variable that names it"#]]
    .assert_eq(&message);
}

#[tokio::test]
async fn a_malformed_secret_is_named_and_not_shown() {
    let message = starting(lookup, holding(Some("hunter2"))).await.expect_err("it is malformed").to_string();
    assert!(message.starts_with("not started, nothing was polled: 1 problem\n"), "{message}");
    assert!(message.contains("secret `windlass/approval-keys` is malformed: not JSON of the form"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn a_missing_name_of_a_secret_is_reported_once() {
    let lookup = |name: &str| lookup(name).filter(|_| name != "APPROVAL_SECRET");
    let problems = starting(lookup, holding(None)).await.expect_err("the name is missing");
    assert_eq!((problems.config.map(|errors| errors.problems.len()), problems.secrets), (Some(1), vec![]));
}

/// A store that never answers, or says every time that it cannot.
enum Away {
    Silent,
    Refusing,
}

#[async_trait]
impl Secrets for Away {
    async fn get(&self, name: &str) -> Result<SecretString, SecretError> {
        match self {
            Away::Silent => std::future::pending().await,
            Away::Refusing => {
                Err(SecretError::Unavailable { name: name.to_owned(), message: "connection refused".to_owned() })
            }
        }
    }

    async fn exists(&self, name: &str) -> Result<(), SecretError> {
        self.get(name).await.map(drop)
    }
}

/// Runs `future`, moving the clock on whenever everything waits for it; how long that took by the clock.
async fn timed<T>(clock: &ManualClock, future: impl Future<Output = T>) -> (T, Duration) {
    let started = clock.now();
    let mut future = std::pin::pin!(future);
    loop {
        let polled = futures::poll!(future.as_mut());
        if let std::task::Poll::Ready(value) = polled {
            return (value, clock.now().since(started));
        }
        clock.set(clock.next_wake().expect("something is waited for"));
    }
}

#[tokio::test]
async fn an_unreachable_secret_store_is_given_up_in_time() {
    for (away, says) in [(Away::Silent, "no answer within 8 s"), (Away::Refusing, "connection refused")] {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000)));
        let random = SeededRandom::new(7);
        let starting = prepare(lookup, Arc::new(away), clock.clone(), &random, Access::Signs);
        let (result, took) = timed(&clock, starting).await;
        let message = result.expect_err("there is no secret").to_string();
        assert!(message.contains(says) && message.contains("windlass/approval-keys"), "{message}");
        assert!(took <= STARTUP_MAX, "{took:?}");
    }
}
