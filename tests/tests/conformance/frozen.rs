//! What releases stored stays readable: the items that each released schema left in the tables, as fixtures, read by today's code; and
//! what today's code stores is the newest of them, so that nobody changes a stored format without noticing.
//!
//! When that test fails, the stored format has changed. If what is stored in production can still be read, the change gets a fixture of
//! its own beside the others: raise [`NEWEST`] and `WINDLASS_FREEZE=1 cargo test -p windlass-tests --test conformance frozen`.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use serde_json::{Map, Value, json};
use windlass::{
    agent::answers::AnswerKey,
    aws::clients::Clients,
    run::{
        entry::{Entry, Event},
        state::RunState,
        stored::{Body, Stored},
    },
};
use windlass_local::Stack;
use windlass_tests::conformance::{Case, Stores};

use super::on_aws::stores;

/// The schema that today's code writes.
const NEWEST: u32 = 1;

/// The cases whose items are kept: one or two of every kind of item. None does two things at once, so that each leaves the same.
const KEPT: &[&str] = &[
    "accepting::the_same_request_again_is_the_same_run",
    "accepting::a_large_first_entry_is_kept_beside_the_head",
    "appending::a_long_entry_comes_back_as_it_was_written",
    "appending::entries_come_back_in_order_from_where_asked",
    "interjecting::an_interjection_appends_and_makes_the_run_ready",
    "claiming::a_renewed_lease_holds_longer_and_is_due_when_it_ends",
    "leaving::every_status_is_kept_with_what_it_says",
    "listing::the_longest_waiting_approval_comes_first",
    "idempotency::the_first_to_begin_does_it_and_the_second_waits",
    "idempotency::what_was_done_is_answered_with_its_result",
    "answering::an_answer_comes_back_until_it_expires",
    "controls::a_change_is_read_at_once_kept_and_audited",
    "controls::a_saved_prompt_never_changes_and_is_listed_newest_first",
    "budgets::what_is_reserved_counts_until_it_is_settled",
    "jobs::every_job_is_listed_with_its_lock_and_its_last_run",
    "plans::an_item_is_moved_at_most_once",
];

const TABLES: [&str; 4] = ["test-runs", "test-idempotency", "test-controls", "test-memory"];

/// Items by case and table.
type Left = BTreeMap<String, BTreeMap<String, Vec<Value>>>;

fn folder(schema: u32) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures")).join(format!("schema-{schema}"))
}

fn fixture(schema: u32, name: &str) -> String {
    let path = folder(schema).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_freezing() -> bool {
    std::env::var_os("WINDLASS_FREEZE").is_some()
}

fn client(stack: &Stack) -> aws_sdk_dynamodb::Client {
    Clients::at(&stack.aws_url()).dynamodb()
}

/// An attribute as DynamoDB's API writes it, bytes in hexadecimal.
fn written(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(value) => json!({ "BOOL": value }),
        AttributeValue::B(bytes) => {
            json!({ "B": bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>() })
        }
        AttributeValue::L(items) => json!({ "L": items.iter().map(written).collect::<Vec<_>>() }),
        AttributeValue::M(fields) => {
            json!({ "M": fields.iter().map(|(name, value)| (name.clone(), written(value))).collect::<BTreeMap<_, _>>() })
        }
        other => panic!("nothing is stored as {other:?}"),
    }
}

fn read(value: &Value) -> AttributeValue {
    let (kind, value) = value.as_object().and_then(|fields| fields.iter().next()).expect("an attribute");
    let text = || value.as_str().expect("a text").to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text()),
        "BOOL" => AttributeValue::Bool(value.as_bool().expect("a boolean")),
        "B" => AttributeValue::B(Blob::new(unhex(&text()))),
        "L" => AttributeValue::L(value.as_array().expect("a list").iter().map(read).collect()),
        "M" => AttributeValue::M(
            value.as_object().expect("a map").iter().map(|(name, value)| (name.clone(), read(value))).collect(),
        ),
        other => panic!("no attribute is a {other}"),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

async fn items(stack: &Stack, table: &str) -> Vec<Value> {
    let scanned = client(stack).scan().table_name(table).send().await.expect("it answers");
    assert_eq!(scanned.last_evaluated_key, None, "one page");
    let mut items: Vec<Value> = scanned
        .items
        .unwrap_or_default()
        .iter()
        .map(|item| item.iter().map(|(name, value)| (name.clone(), written(value))).collect::<BTreeMap<_, _>>())
        .map(|item| Value::Object(Map::from_iter(item)))
        .collect();
    items.sort_by_key(Value::to_string);
    items
}

/// What today's code leaves.
async fn left() -> Left {
    let cases: Vec<Case<Stores>> = windlass_tests::store_cases!(case_list Stores);
    let mut left = Left::new();
    for name in KEPT {
        let case = cases.iter().find(|case| case.name == *name).unwrap_or_else(|| panic!("{name} is no case"));
        let subject = stores().await;
        (case.run)(&subject.ports).await;
        let mut tables = BTreeMap::new();
        for table in TABLES {
            let items = items(&subject.keep, table).await;
            if !items.is_empty() {
                tables.insert(table.to_owned(), items);
            }
        }
        left.insert((*name).to_owned(), tables);
    }
    left
}

/// Compressed entries as they were before: another version of the compressor may find other bytes for them.
fn inflated(left: Left) -> Value {
    let mut value = serde_json::to_value(left).expect("it has JSON");
    let tables = value.as_object_mut().expect("cases").values_mut();
    let items = tables.flat_map(|tables| tables.as_object_mut().expect("tables").values_mut());
    for item in items.flat_map(|items| items.as_array_mut().expect("items")) {
        if let Some(bytes) = item["z"]["B"].as_str().map(unhex) {
            let entry = Stored { version: 1, body: Body::Deflated(bytes) }.decode().expect("an entry");
            item["z"] = serde_json::to_value(entry).expect("it has JSON");
        }
    }
    value
}

/// Everything that can be read of what a case left, in words.
async fn told(stores: &Stores, items: &BTreeMap<String, Vec<Value>>) -> String {
    let mut told = String::new();
    let text = |item: &Value, name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
    let mut tell = |line: String| writeln!(told, "{line}").expect("a text takes it");
    for item in items.values().flatten() {
        let (pk, sk) = (text(item, "pk"), text(item, "sk"));
        if sk == "head" {
            let run = pk.parse().expect("a run id");
            let head = stores.heads.head(run).await.expect("it can be read");
            tell(format!("{head:?}"));
            let entries = stores.journal.load(run, 1).await.expect("it can be read");
            let state = RunState::fold(&entries).map(|state| format!("folds to {:?}", state.phase));
            tell(format!("{} entries, {}", entries.len(), state.unwrap_or_else(|error| error.to_string())));
            entries.iter().for_each(|entry| tell(format!("{entry:.300?}")));
        } else if let Some(task) = pk.strip_prefix("prompt#") {
            tell(format!(
                "{:?}",
                stores.prompts.list(&task.parse().expect("a task"), 10).await.expect("it can be read")
            ));
        }
    }
    tell(format!("{:?}", stores.controls.history(10).await.expect("it can be read")));
    tell(format!("{:?}", stores.plans.plan("p").await.expect("it can be read")));
    tell(format!("{:?}", stores.plans.audit_trail(10).await.expect("it can be read")));
    tell(format!("{:?}", stores.jobs.list().await.expect("it can be read")));
    let (tenant, tool) = ("acme".parse().expect("a tenant"), "shop/look_up".parse().expect("a tool"));
    let key = AnswerKey::of(&tenant, &tool, &json!({ "order": "A-1" }));
    tell(format!(
        "{:?}",
        stores.answers.get(&key, windlass_tests::conformance::BEGINNING).await.expect("it can be read")
    ));
    told
}

#[tokio::test]
async fn what_is_stored_today_is_the_newest_schema() {
    let left = left().await;
    let path = folder(NEWEST).join("tables.json");
    if is_freezing() {
        fs::create_dir_all(folder(NEWEST)).expect("a folder");
        fs::write(&path, serde_json::to_string_pretty(&left).expect("it has JSON") + "\n").expect("it is written");
        return;
    }
    let frozen: Left = serde_json::from_str(&fixture(NEWEST, "tables.json")).expect("a fixture");
    let (frozen, today) = (inflated(frozen), inflated(left));
    for (case, frozen) in frozen.as_object().expect("cases") {
        assert_eq!(&today[case], frozen, "the stored format has changed, as `{case}` shows; see this file's head");
    }
    assert_eq!(today, frozen);
}

#[tokio::test]
async fn what_every_schema_stored_is_read_today() {
    for schema in 1..=NEWEST {
        let frozen: Left = serde_json::from_str(&fixture(schema, "tables.json")).expect("a fixture");
        let mut all = String::new();
        for (case, tables) in &frozen {
            let subject = stores().await;
            for (table, items) in tables {
                for item in items {
                    let item = item.as_object().expect("an item").iter();
                    let item = item.map(|(name, value)| (name.clone(), read(value))).collect();
                    let put = client(&subject.keep).put_item().table_name(table).set_item(Some(item));
                    put.send().await.expect("it is put");
                }
            }
            writeln!(all, "# {case}\n{}", told(&subject.ports, tables).await).expect("a text takes it");
        }
        let path = folder(schema).join("read.txt");
        if is_freezing() {
            fs::write(&path, &all).expect("it is written");
        }
        assert_eq!(all, fixture(schema, "read.txt"), "schema {schema} is read otherwise than when it was written");
    }
}

/// One entry for every event and every kind of plan, decision, outcome and end.
fn frozen_entries(schema: u32) -> Vec<Value> {
    serde_json::from_str(&fixture(schema, "entries.json")).expect("a fixture")
}

#[test]
fn every_entry_of_every_schema_is_read_and_today_s_are_written_as_they_are() {
    for schema in 1..=NEWEST {
        let mut today = Vec::new();
        for entry in frozen_entries(schema) {
            let read = Stored { version: 1, body: Body::Json(entry.to_string()) }.decode();
            let read: Entry = read.unwrap_or_else(|error| panic!("schema {schema}: {error}: {entry}"));
            if schema == NEWEST && is_freezing() {
                today.push(serde_json::to_string(&read).expect("it has JSON"));
            } else if schema == NEWEST {
                assert_eq!(serde_json::to_value(&read).expect("it has JSON"), entry, "the stored format has changed");
            }
        }
        if !today.is_empty() {
            let all = format!("[\n{}\n]\n", today.join(",\n"));
            fs::write(folder(schema).join("entries.json"), all).expect("it is written");
        }
    }
}

#[test]
fn the_newest_schema_has_an_entry_for_every_event() {
    let error = serde_json::from_value::<Event>(json!({ "event": "?" })).expect_err("no event").to_string();
    let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
    assert!(known.len() > 15, "{error}");
    let entries = frozen_entries(NEWEST);
    let events: Vec<&str> = entries
        .iter()
        .flat_map(|entry| entry["events"].as_array().expect("events"))
        .filter_map(|event| event["event"].as_str())
        .collect();
    let missing: Vec<&&str> = known.iter().filter(|event| !events.contains(event)).collect();
    assert!(missing.is_empty(), "no entry in the fixture has {missing:?}");
}
