//! What is stored: entries, whole journals, heads.

use std::{cell::Cell, collections::HashMap, rc::Rc, sync::Arc};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use serde_json::{Value, json};
use windlass::{
    aws::read_head,
    clock::Timestamp,
    ids::RunId,
    redaction::Redactions,
    run::{
        entry::Entry,
        next::{decide, in_doubt, standing},
        state::RunState,
        stored::{Body, ENVELOPE_VERSION, Stored},
    },
    telemetry::{Narrative, Narrator, event::TelemetryEvent},
};

use super::super::Said;
use crate::simulation::{
    drive::{drive, scenarios},
    faults::Faults,
    world::World,
};

/// What the journals' run is called.
const RUN: &str = "01JHD7Z3ZK8V6N5Q4R3S2T1W0X";

/// Every journal that the scenarios lead to.
pub fn journals() -> Vec<Vec<Entry>> {
    let lead = |scenario| {
        let world = World::new(1, Faults::none(), &scenario);
        let answer: Rc<Cell<Option<RunId>>> = Rc::default();
        let run = drive(&world, &scenario, &answer);
        world.entries(run)
    };
    scenarios().into_iter().map(lead).collect()
}

pub fn entry_seeds() -> Vec<Vec<u8>> {
    let entries = journals().into_iter().flatten();
    let stored = entries.map(|entry| Stored::encode(&entry).expect("it fits").body);
    stored
        .map(|body| match body {
            Body::Json(json) => json.into_bytes(),
            Body::Deflated(bytes) => bytes,
        })
        .collect()
}

/// The bytes as an entry, plain and deflated.
pub fn entry(input: &[u8]) -> Said {
    let bodies = [Body::Deflated(input.to_vec()), Body::Json(super::text(input).into_owned())];
    let mut said = Said::refused("");
    for body in bodies {
        let read = Stored { version: ENVELOPE_VERSION, body }.decode();
        if let Ok(entry) = &read {
            let stored = Stored::encode(entry).expect("what was read can be written");
            assert_eq!(stored.decode().as_ref(), Ok(entry), "an entry changes when it is stored again");
        }
        said = if read.is_ok() { return Said::of(&read) } else { Said::of(&read) };
    }
    said
}

pub fn journal_seeds() -> Vec<Vec<u8>> {
    journals().iter().map(|entries| serde_json::to_vec(entries).expect("entries have JSON")).collect()
}

/// A whole journal: folded entry by entry, and at each decided, told, redacted.
pub fn journal(input: &[u8]) -> Said {
    let entries: Vec<Entry> = match serde_json::from_slice(input) {
        Ok(entries) => entries,
        Err(error) => return Said::refused(error),
    };
    let run: RunId = RUN.parse().expect("a run id");
    let redactions = Redactions::default();
    // Damaged or not: it is shown to whoever looks into it.
    redactions.journal(&entries);
    let narrator = Narrator { environment: "dev", redactions: Arc::new(redactions) };
    for event in Narrative::tell_all(run, &entries, &narrator) {
        assert!(TelemetryEvent::parse(&event.line()).is_some(), "an event that cannot be read: {}", event.line());
    }
    let folded = RunState::fold(&entries);
    if let Ok(state) = &folded {
        for now in [
            Timestamp::from_millis(0),
            Timestamp::from_millis(1_768_000_000_000),
            Timestamp::from_millis(4_102_444_800_000),
        ] {
            let next = decide(state, now, 1);
            assert!(!format!("{next:?}").is_empty());
        }
        let _ = (standing(state), in_doubt(state), state.open_approvals().count());
    }
    Said::of(&folded)
}

pub fn head_seeds() -> Vec<Vec<u8>> {
    let item = json!({
        "pk": { "S": RUN }, "sk": { "S": "head" }, "v": { "N": "1" }, "tenant": { "S": "acme" }, "actor": { "S": "ada" },
        "task": { "S": "refund" }, "release": { "S": "r1" }, "created": { "N": "1768000000000" }, "expires": { "N": "1775776000" },
        "owner": { "S": "acme#ada" }, "approval_inbox": { "S": "approval#acme" }, "status": { "S": "ready" }, "epoch": { "N": "3" },
        "strikes": { "N": "1" }, "interjections": { "N": "0" }, "ready_from": { "N": "1768000000000" }, "due_shard": { "S": "due#3" },
        "due_at": { "N": "1768000060000" },
    });
    let with = |fields: Value| {
        let mut item = item.clone();
        item.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        item.to_string().into_bytes()
    };
    let first = journals().into_iter().flatten().next().expect("there is an entry");
    let first = serde_json::to_string(&first).expect("entries have JSON");
    vec![
        with(json!({})),
        with(json!({ "lease_holder": { "S": "h" }, "lease_until": { "N": "1768000030000" } })),
        with(json!({ "status": { "S": "dead" }, "cause": { "S": "c" }, "fingerprint": { "S": "f" } })),
        with(json!({ "status": { "S": "held" }, "problem": { "S": "the agent is off" } })),
        with(json!({ "status": { "S": "awaiting_approval" } })),
        with(json!({ "v": { "N": "2" }, "ev": { "N": "1" }, "e": { "S": first } })),
        with(json!({ "v": { "N": "2" }, "ev": { "N": "1" }, "z": { "B": "deflated" } })),
    ]
}

/// An item as DynamoDB's API writes it.
pub fn head(input: &[u8]) -> Said {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(input) else { return Said::refused("no item") };
    let item: HashMap<String, AttributeValue> =
        fields.iter().filter_map(|(name, value)| Some((name.clone(), attribute(value)?))).collect();
    let read = read_head(item);
    if let Ok(head) = &read {
        assert!(head.lease.is_none() || head.epoch == head.lease.as_ref().map_or(0, |lease| lease.epoch));
        let _ = (head.status.word(), format!("{} {:?}", head.expires, head.due));
        if let Some(Ok(first)) = head.first.as_ref().map(Stored::decode) {
            let again = Stored::encode(&first).expect("what was read can be written");
            assert_eq!(again.decode().as_ref(), Ok(&first), "a first entry changes when it is stored again");
        }
    }
    Said::of(&read)
}

fn attribute(value: &Value) -> Option<AttributeValue> {
    let (kind, value) = value.as_object()?.iter().next()?;
    Some(match (kind.as_str(), value) {
        ("S", Value::String(text)) => AttributeValue::S(text.clone()),
        ("N", Value::String(text)) => AttributeValue::N(text.clone()),
        ("B", Value::String(text)) => AttributeValue::B(Blob::new(text.as_bytes())),
        ("BOOL", Value::Bool(value)) => AttributeValue::Bool(*value),
        ("NULL", _) => AttributeValue::Null(true),
        ("L", Value::Array(items)) => AttributeValue::L(items.iter().filter_map(attribute).collect()),
        _ => return None,
    })
}
