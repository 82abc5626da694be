//! Texts that people, deployments and clients write.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use clap::Parser as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use windlass::{
    agent::{
        policy::{PolicyQuestion, Tightening, judge},
        tool::{Effect, ToolSpec},
    },
    approval::token::{ApprovalKeys, Token},
    clock::Timestamp,
    config::{Config, Environment},
    controls::{Document, Settings},
    idempotency::{Key, check_client_key, powertools},
    ids::{Actor, ApprovalId, Release, Role, RunId, Task, Tenant, ToolName, TraceId},
    memory::Sources,
    prompts::SavedPrompt,
    redaction::{LOOKS_PER_BYTE_MAX, Redaction, Redactions, looked_at},
    retrieval::citations::cited,
    run::{request::RunRequest, state::Totals},
};
use windlass_operator::cli::Cli;
use windlass_policy::{CedarPolicy, PolicyTerms, PolicyText};

use super::{super::Said, bytes, file, text};
use crate::simulation::{drive::scenarios, faults::Faults, world::World};

pub fn token_seeds() -> Vec<Vec<u8>> {
    bytes(&[
        "w1.k1.1768001800.AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE",
        "v1.k1.1768001800.AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE",
    ])
}

/// One token has one text.
pub fn token(input: &[u8]) -> Said {
    let text = text(input);
    let read = text.parse::<Token>();
    if let Ok(token) = &read {
        assert_eq!(token.to_string(), text, "another text of the same token");
    }
    Said::of(&read)
}

pub fn id_seeds() -> Vec<Vec<u8>> {
    bytes(&[
        "01JHD7Z3ZK8V6N5Q4R3S2T1W0X",
        "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1-1",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "2026-01-05T08:00:00Z",
        "refund/checked",
        "acme",
    ])
}

/// An id is read only in the form that it is written in.
pub fn ids(input: &[u8]) -> Said {
    let text = text(input);
    let mut read: Vec<&str> = Vec::new();
    macro_rules! same {
        ($($kind:ident)+) => {$(
            if let Ok(id) = text.parse::<$kind>() {
                assert_eq!(id.to_string(), text, stringify!($kind));
                assert!(!text.contains('#') && !text.contains(char::is_control), stringify!($kind));
                read.push(stringify!($kind));
            }
        )+};
    }
    same!(RunId ApprovalId TraceId Tenant Actor Task ToolName Role Release);
    if let Ok(at) = text.parse::<Timestamp>() {
        assert_eq!(at.to_string().parse().ok(), Some(at), "a time changes when it is written");
        read.push("Timestamp");
    }
    read.extend(TraceId::from_traceparent(&text).map(|_| "traceparent"));
    if read.is_empty() { Said::refused("") } else { Said::Taken(read.join(" ")) }
}

pub fn key_seeds() -> Vec<Vec<u8>> {
    let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    vec![json!({ "current": "k2", "keys": { "k1": key, "k2": key } }).to_string().into_bytes()]
}

/// What is wrong with a secret is said without quoting it.
pub fn approval_keys(input: &[u8]) -> Said {
    let secret = text(input).into_owned();
    let read = ApprovalKeys::parse(&SecretString::from(secret.clone()));
    if let Err(error) = &read {
        let said = error.to_string();
        let quoted =
            secret.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| word.len() >= 16 && said.contains(word));
        assert_eq!(quoted, None, "a secret is quoted");
    }
    read.map_or_else(Said::refused, |_| Said::Taken(String::new()))
}

pub fn client_key_seeds() -> Vec<Vec<u8>> {
    bytes(&["order-17", "nightly-import-7", "8e03978e-40d5-43e8-bc93-6894a57f9324", r#"{"id":["order-17",1.5e300]}"#])
}

/// A key's record never shows the client's own text.
pub fn client_key(input: &[u8]) -> Said {
    let text = text(input);
    let (tenant, actor): (Tenant, Actor) = ("acme".parse().expect("a tenant"), "ada".parse().expect("an actor"));
    let key = Key::of("runs", &tenant, &actor, &text);
    assert_eq!(key.is_ok(), check_client_key(&text).is_ok());
    if let Ok(key) = &key {
        assert_eq!(key.as_str().len(), "runs#".len() + 64);
    }
    if let Ok(value) = serde_json::from_str::<Value>(&text)
        && let Ok(key) = powertools::key("p", &value)
    {
        assert_eq!(key.as_str().len(), "p#".len() + 64);
        assert_eq!(powertools::payload_hash(&value).as_str().len(), 64);
    }
    Said::of(&key)
}

pub fn configuration_seeds() -> Vec<Vec<u8>> {
    let minimal = "ENVIRONMENT=dev\nRELEASE=r1\nRUNS_TABLE=w-runs\nIDEMPOTENCY_TABLE=w-idem\nCONTROLS_TABLE=w-controls\nMEMORY_TABLE=w-memory\nDESK_TABLE=w-desk\n\
        STEP_QUEUE_URL=http://127.0.0.1/q\nSTEP_DEAD_LETTER_QUEUE_URL=http://127.0.0.1/d\nAPPROVAL_SECRET=s\nAPPROVAL_PUBLIC_SECRET=p\nTASKS=refund";
    let full = format!(
        "{minimal}\nMODEL=anthropic:m\nMODEL_SECRET=k\nMODEL_PRICES={{\"anthropic:m\":{{\"input\":3,\"output\":15}}}}\nMODEL_FALLBACK=openai:n\n\
        MODEL_FALLBACK_SECRET=l\nMODEL_LAST_RESORT=person\nMODEL_CASSETTE=replay:x\nMCP_SERVERS=[]\nSTEPS_MAX=10\nBUDGET_ACTOR_DAY_TOKENS=5\n\
        SHOWN_FIELDS={{\"request\":[\"/email\"],\"tools\":{{\"refund\":{{\"answer\":[\"/iban\"]}}}}}}\nLOG_FORMAT=text\nRUN_RETENTION_DAYS=3650"
    );
    let names = windlass::config::VARIABLES.iter().map(|variable| format!("{}=1\n", variable.name)).collect::<String>();
    vec![minimal.as_bytes().to_vec(), full.into_bytes(), names.into_bytes()]
}

/// Every problem is named, or there is none.
pub fn configuration(input: &[u8]) -> Said {
    let text = text(input);
    let set: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let read = Config::parse(|name| set.get(name).map(|value| (*value).to_owned()));
    if let Err(errors) = &read {
        assert!(!errors.problems.is_empty() && !errors.to_string().is_empty(), "refused for nothing");
    }
    Said::of(&read)
}

pub fn controls_seeds() -> Vec<Vec<u8>> {
    let typed = [
        "agent=person:ops",
        "tool.refund=off",
        "route.refund.model=openai:m",
        "route.refund.prompt=2",
        "flag.new=25%,acme",
    ];
    let settings = typed.iter().try_fold(Settings::default(), |settings, one| settings.set(one)).expect("settings");
    let document = Document { settings, ..Document::default() };
    [Document::default(), document].iter().map(|one| serde_json::to_vec(one).expect("it has JSON")).collect()
}

/// What is read is written back as it was, and can be typed.
pub fn controls(input: &[u8]) -> Said {
    let read = Document::parse(&text(input));
    if let Ok(document) = &read {
        let written = serde_json::to_string(document).expect("it has JSON");
        assert_eq!(Document::parse(&written).as_ref().ok(), Some(document), "controls change when they are stored");
        typed_again(&document.settings);
    }
    Said::of(&read)
}

pub fn setting_seeds() -> Vec<Vec<u8>> {
    bytes(&[
        "agent=off\nmodel=off\nprompt=default\nmemory-writes=off\nnew-runs=off\npolicy=deny",
        "tool.refund=off\ntool.shop/look=off\nflag.new=25%\nflag.other=acme,globex\nflag.third=5%,acme\nfallback-answer={\"a\":1}",
        "route.refund.model=openai:m\nroute.refund.prompt=3\nroute.refund.model=none\nagent=person:ops",
    ])
}

/// One setting per line, in turn.
pub fn setting(input: &[u8]) -> Said {
    let text = text(input);
    let set = text.lines().try_fold(Settings::default(), |settings, typed| settings.set(typed));
    if let Ok(settings) = &set {
        typed_again(settings);
    }
    Said::of(&set)
}

/// The lines that say what is set, typed, set the same.
fn typed_again(settings: &Settings) {
    let lines = settings.lines();
    let typed = lines.iter().map(|(name, value)| format!("{name}={value}"));
    let again = typed.clone().try_fold(Settings::default(), |settings, one| settings.set(&one));
    assert_eq!(again.as_ref().ok(), Some(settings), "typed again: {:?}: {again:?}", typed.collect::<Vec<_>>());
}

pub fn prompt_seeds() -> Vec<Vec<u8>> {
    let text = "You work at a refund desk.";
    let digest = windlass::prompts::digest(text);
    vec![json!({ "task": "refund", "version": 3, "text": text, "digest": digest, "by": "ops", "at": "2026-01-05T08:00:00Z", "note": "shorter" }).to_string().into_bytes()]
}

/// A prompt as it is kept.
pub fn prompt(input: &[u8]) -> Said {
    let read = serde_json::from_slice::<SavedPrompt>(input);
    if let Ok(prompt) = &read {
        let again = serde_json::to_vec(prompt).ok().and_then(|json| serde_json::from_slice(&json).ok());
        assert_eq!(again.as_ref(), Some(prompt), "a prompt changes when it is stored");
        assert_eq!(prompt.prompt().version, prompt.name());
    }
    Said::of(&read)
}

pub fn source_seeds() -> Vec<Vec<u8>> {
    let answer = json!({ "answer": "within 30 days [S1]", "citations": ["handbook"] });
    vec![file("functions/step/src/refund_desk/handbook.json"), answer.to_string().into_bytes()]
}

/// Sources that answers cite, and the citations of an answer.
pub fn sources(input: &[u8]) -> Said {
    if let Ok(answer) = serde_json::from_slice::<Value>(input) {
        let _ = cited(&answer);
    }
    Said::of(&Sources::parse(&text(input)))
}

pub fn redaction_seeds() -> Vec<Vec<u8>> {
    bytes(&[
        "mail ada@acme.example, IBAN DE89 3704 0044 0532 0130 00, card 4111 1111 1111 1111, call +49 30 901820",
        r#"{"request":["/email"],"response":[],"tools":{"refund":{"arguments":["/iban"],"answer":[]}}}"#,
        r#"{"order":"A-1","password":"hunter2","authorization":"Bearer abcdef0123456789abcdef","nested":{"email":"ada@acme.example","list":["4111111111111111"]}}"#,
        "key sk-proj-0123456789abcdefghijklmnopqrstuvwxyzABCD and AKIAIOSFODNN7EXAMPLE, eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----",
    ])
}

/// What is redacted once stays as it is, and takes time that is linear in its bytes.
pub fn redaction(input: &[u8]) -> Said {
    let text = text(input);
    let (looked_at, bytes) = (looked_at(&text), u64::try_from(text.len()).expect("it is short"));
    assert!(looked_at <= LOOKS_PER_BYTE_MAX * bytes.max(64), "redaction looks too often at a byte");
    let once = Redaction::default().text(&text).into_owned();
    // JSON is redacted by its structure, see below: what is taken out of its text does not leave JSON.
    if !text.contains('"') {
        assert_eq!(Redaction::default().text(&once), once, "redacted twice is not redacted once");
    }
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        let once = Redaction::default().value(&value);
        assert_eq!(Redaction::default().value(&once), once, "redacted twice is not redacted once");
    }
    let _ = Redactions::parse(&text);
    if once == text {
        Said::refused("nothing to redact")
    } else {
        Said::Taken(once.matches("[redacted:").count().min(9).to_string())
    }
}

static TOOLS: LazyLock<Vec<ToolSpec>> = LazyLock::new(|| {
    let engine = World::new(1, Faults::none(), &scenarios()[0]).engine();
    engine.agent.tools.values().map(|tool| tool.spec().clone()).collect()
});

pub fn policy_seeds() -> Vec<Vec<u8>> {
    vec![file("functions/step/src/refund_desk/refund_desk.cedar"), file("functions/step/src/refund_desk/drills.cedar")]
}

/// Policy text: refused with every problem at its place, or it judges.
pub fn policy(input: &[u8]) -> Said {
    let texts = [PolicyText { file: "fuzzed".to_owned(), text: text(input).into_owned() }];
    let terms = PolicyTerms {
        environment: Environment::Dev,
        approval_expires_after: Duration::from_secs(60),
        doubt_role: "ops".parse().expect("a role"),
        reminder: None,
    };
    let loaded = CedarPolicy::load(&texts, TOOLS.iter(), terms);
    if let Ok(policy) = &loaded {
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: json!({}),
            roles: Default::default(),
        };
        for tool in TOOLS.iter() {
            let question = PolicyQuestion {
                request: &request,
                tool: &tool.name,
                arguments: &json!({ "order": "A-1", "amount_cents": 1_000 }),
                effect: Effect::Irreversible,
                history: &Default::default(),
                windows: &Default::default(),
                totals: &Totals::default(),
                tightening: Tightening::None,
            };
            let _ = judge(policy, &question);
        }
    }
    loaded.map_or_else(Said::refused, |policy| Said::Taken(format!("{}", policy.rules().len().min(20))))
}

pub fn command_line_seeds() -> Vec<Vec<u8>> {
    bytes(&[
        "windlass\ndemo\n--yes",
        "windlass\nruns\nlist\n--troubled\n--json",
        "windlass\nruns\nwatch\n01JHD7Z3ZK8V6N5Q4R3S2T1W0X",
        "windlass\ndead-letters\nlist\n--group",
        "windlass\ncontrols\nset\nagent=off\n--reason\ndrill",
        "windlass\napprovals\ndecide\n01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1-1\napproved",
        "windlass\n--endpoint-url\nhttp://127.0.0.1:1\nschedules\nlist",
    ])
}

/// One argument per line.
pub fn command_line(input: &[u8]) -> Said {
    let text = text(input);
    // The process environment has no say.
    let read = Cli::try_parse_from(text.lines());
    if let Err(error) = &read {
        assert!(error.exit_code() == 0 || error.exit_code() == 2, "exit code {}", error.exit_code());
    }
    read.map_or_else(
        |error| Said::Refused(format!("{:?}", error.kind())),
        |cli| Said::Taken(format!("{:?}", std::mem::discriminant(&cli.command))),
    )
}
