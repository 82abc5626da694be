//! What only DynamoDB has: attributes, write units, faults.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use windlass::{
    audit::AuditRecord,
    aws::{self, clients::Clients},
    budgets::{Account, Allowance, Reservation, Reserved, Spend},
    clock::Clock as _,
    controls::{Change, Changed, Document, Settings},
    idempotency::{Begun, Key, PayloadHash, Turn},
    ids::Random as _,
    journal::{Head, HeadStatus, Heads as _, Journal as _, JournalError, Lease, NewRun},
    lease::{Claim, LEASE_FOR, Leave, Left},
    memory::SeededRandom,
    run::entry::{Entry, Event, Writer},
};

use super::{clock, on_aws::stores};
use windlass_tests::conformance::{BEGINNING, KEPT_FOR, Stores};

type Item = HashMap<String, AttributeValue>;

fn client(stack: &windlass_local::Stack) -> aws_sdk_dynamodb::Client {
    Clients::at(&stack.aws_url()).dynamodb()
}

async fn accepted(stores: &Stores) -> NewRun {
    let new = stores.new_run("k");
    stores.journal.accept(&new).await.expect("it is taken on");
    new
}

async fn won(stores: &Stores, new: &NewRun) -> (Head, Lease) {
    let now = stores.clock.now();
    match stores.leases.claim(new.run, "a", now, now + LEASE_FOR).await {
        Ok(Claim::Won(head, lease)) => (*head, lease),
        other => panic!("not won: {other:?}"),
    }
}

fn said(text: String) -> Entry {
    Entry {
        at: BEGINNING,
        writer: Writer::Holder(1),
        release: "r1".parse().expect("a release"),
        events: vec![Event::Responded { response: text.into() }],
    }
}

fn leave(status: HeadStatus) -> Leave {
    let then = (!status.is_over()).then_some(BEGINNING + Duration::from_secs(3600));
    Leave { status, ready_from: then, due: then, now: BEGINNING, interjections: 0, strikes: 0 }
}

async fn item(client: &aws_sdk_dynamodb::Client, table: &str, key: &[(&str, String)]) -> Item {
    let mut get = client.get_item().table_name(table);
    for (name, value) in key {
        get = get.key(*name, AttributeValue::S(value.clone()));
    }
    get.send().await.expect("it answers").item.expect("it is there")
}

#[tokio::test]
async fn a_step_costs_one_write_unit_and_a_claim_one() {
    let subject = stores().await;
    let (stores, stack) = (&subject.ports, &subject.keep);
    let mut before = stack.meter();
    let mut spent = |name: &str| {
        let now = stack.meter();
        let units = now.since(&before).units_of(name);
        before = now;
        units
    };
    let new = accepted(stores).await;
    // The record; the head with the first entry; its entries in the indexes `due` and `owner`.
    assert_eq!(spent("DynamoDB.PutItem"), 4.0);
    let (_, lease) = won(stores, &new).await;
    assert_eq!(spent("DynamoDB.UpdateItem"), 1.0);
    stores.journal.append(new.run, 2, &said("x".repeat(600)), new.expires).await.expect("it is appended");
    assert_eq!(spent("DynamoDB.PutItem"), 1.0);
    // The head; out of `due` at the old time, into it at the new.
    let left = stores.leases.leave(new.run, &lease, &leave(HeadStatus::Waiting)).await;
    assert_eq!((left, spent("DynamoDB.UpdateItem")), (Ok(Left::Done), 3.0));
    stores.clock.advance(Duration::from_secs(3600));
    let (_, lease) = won(stores, &new).await;
    assert_eq!(spent("DynamoDB.UpdateItem"), 1.0);
    // The head; out of `due`.
    let finished = leave(HeadStatus::Finished { outcome: "completed".to_owned() });
    let left = stores.leases.leave(new.run, &lease, &finished).await;
    assert_eq!((left, spent("DynamoDB.UpdateItem")), (Ok(Left::Done), 2.0));
}

/// What everything reads, at its largest: 16 units and one partition, were it the document itself.
#[tokio::test]
async fn a_read_of_the_controls_is_one_unit_however_large_the_document() {
    let subject = stores().await;
    let (stores, stack) = (&subject.ports, &subject.keep);
    let by = "ops".parse().expect("an actor");
    let audit = |action| AuditRecord::new(BEGINNING, &stores.random, &by, action, "controls", "why");
    stores.controls.init(&audit("controls.init")).await.expect("it answers");
    let settings = Settings { fallback_answer: Some("x".repeat(60_000).into()), ..Settings::default() };
    let change = Change { by: by.clone(), at: BEGINNING, why: "why".to_owned() };
    let large = Document::default().changed(settings, change);
    assert_eq!(stores.controls.change(&large, &audit("controls.change")).await, Ok(Changed::Done));
    let mut units = Vec::new();
    for _ in 0..33 {
        let before = stack.meter();
        assert_eq!(stores.controls.read().await.as_deref(), Ok(&large));
        units.push(stack.meter().since(&before).units_of("DynamoDB.GetItem"));
    }
    assert!(units[0] > 10.0, "the first read of a version is of the document too: {units:?}");
    assert!(units[1..].iter().all(|units| *units == 1.0), "{units:?}");
}

#[tokio::test]
async fn a_question_costs_its_account_as_much_beside_two_hundred_open_ones_as_alone() {
    let subject = stores().await;
    let (stores, stack) = (&subject.ports, &subject.keep);
    let (tenant, actor) = ("acme".parse().expect("a tenant"), "ada".parse().expect("an actor"));
    let reservation = |n: u32| Reservation {
        account: Account::at(BEGINNING, &tenant, &actor),
        id: format!("01JHD7Z3ZK8V6N5Q4R3S2T1W0X-{n}-1-1"),
        worst: Spend { micro_usd: 10, tokens: 10 },
        deadline: BEGINNING + Duration::from_secs(60),
    };
    let allowance = Allowance { micro_usd: 1_000_000, tokens: 1_000_000 };
    let mut costs = Vec::new();
    for n in 0..200 {
        let before = stack.meter();
        let reserved = stores.budgets.reserve(&reservation(n), allowance, BEGINNING).await;
        assert_eq!(reserved, Ok(Reserved::Done));
        costs.push(stack.meter().since(&before).units_of("DynamoDB.UpdateItem"));
    }
    // The account and the reservation.
    assert!(costs.iter().all(|units| *units == 2.0), "{costs:?}");
    let before = stack.meter();
    assert_eq!(stores.budgets.settle(&reservation(7), Spend { micro_usd: 1, tokens: 1 }).await, Ok(true));
    let spent = stack.meter().since(&before);
    assert_eq!((spent.units_of("DynamoDB.UpdateItem"), spent.units_of("DynamoDB.DeleteItem")), (2.0, 1.0));
}

/// A request with so much in its payload, by somebody whose name is as long as that.
fn sized(stores: &Stores, payload: usize, name: usize) -> NewRun {
    let mut new = stores.new_run("k");
    if let [Event::Accepted(accepted)] = new.entry.events.as_mut_slice() {
        let random = SeededRandom::new(1);
        let noise: String = (0..64).map(|_| format!("{:032x}", random.bits())).collect();
        accepted.request.payload = noise[..payload].into();
        accepted.request.actor = "a".repeat(name).parse().expect("an actor");
    }
    new
}

#[tokio::test]
async fn a_head_with_its_first_entry_is_one_write_unit_and_what_does_not_fit_is_an_item_of_its_own() {
    for name in [1, 36, 100] {
        let subject = stores().await;
        let (stores, stack) = (&subject.ports, &subject.keep);
        let carries = |(_, new): &(usize, NewRun)| new.head().is_ok_and(|head| head.first.is_some());
        let sizes = (0..2_048).map(|payload| (payload, sized(stores, payload, name)));
        let (largest, new) = sizes.take_while(carries).last().expect("the smallest fits");
        let before = stack.meter();
        stores.journal.accept(&new).await.expect("it is taken on");
        // A holder as the loop names itself.
        let (now, holder) = (stores.clock.now(), "h".repeat(32));
        let claim = stores.leases.claim(new.run, &holder, now, now + LEASE_FOR).await;
        let Ok(Claim::Won(head, lease)) = claim else { panic!("not won: {claim:?}") };
        assert!(head.first.is_some());
        let until = BEGINNING + Duration::from_secs(90);
        assert!(stores.leases.renew(new.run, &lease, until).await.expect("it answers").is_some());
        let spent = stack.meter().since(&before);
        // The claim; the renewal, which moves `due`.
        assert_eq!((spent.units_of("DynamoDB.PutItem"), spent.units_of("DynamoDB.UpdateItem")), (4.0, 4.0), "{name}");
        assert_eq!(stores.journal.load(new.run, 1).await, Ok(vec![new.entry]));
        // Ids compress by a few bytes more or less.
        let larger = NewRun { key: stores.new_run("l").key, ..sized(stores, largest + 16, name) };
        let before = stack.meter();
        stores.journal.accept(&larger).await.expect("it is taken on");
        assert_eq!(stack.meter().since(&before).units_of("DynamoDB.PutItem"), 5.0, "one item more");
        assert_eq!(stores.journal.load(larger.run, 1).await, Ok(vec![larger.entry]));
    }
}

#[tokio::test]
async fn a_record_is_laid_out_as_powertools_lays_it_out() {
    let subject = stores().await;
    let new = accepted(&subject.ports).await;
    let item = item(&client(&subject.keep), "test-idempotency", &[("id", new.key.as_str().to_owned())]).await;
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let expected = Item::from([
        ("id".to_owned(), text(new.key.as_str())),
        ("status".to_owned(), text("COMPLETED")),
        ("expiration".to_owned(), AttributeValue::N(new.key_expires.as_seconds().to_string())),
        ("data".to_owned(), text(&format!(r#"{{"run_id":"{}"}}"#, new.run))),
        ("validation".to_owned(), text(new.payload_hash.as_str())),
        ("owner".to_owned(), text(&new.run.to_string())),
    ]);
    assert_eq!(item, expected);
}

#[tokio::test]
async fn records_that_powertools_wrote_are_read() {
    let subject = stores().await;
    let client = client(&subject.keep);
    let key = Key::of("refund", &"acme".parse().expect("a tenant"), &"ada".parse().expect("an actor"), "k");
    let key = key.expect("a key");
    let put = |status: &str| {
        let expiration = (BEGINNING + Duration::from_secs(60)).as_seconds();
        client
            .put_item()
            .table_name("test-idempotency")
            .item("id", AttributeValue::S(key.as_str().to_owned()))
            .item("status", AttributeValue::S(status.to_owned()))
            .item("expiration", AttributeValue::N(expiration.to_string()))
    };
    let turn = Turn {
        owner: "me".to_owned(),
        now: BEGINNING,
        in_progress_until: BEGINNING + Duration::from_secs(30),
        expires: BEGINNING + Duration::from_secs(60),
    };
    let hash = PayloadHash::of(&serde_json::Value::Null);
    let begin = || subject.ports.records.begin(&key, &hash, &turn);
    put("INPROGRESS").send().await.expect("it is put");
    assert_eq!(begin().await, Ok(Begun::InProgress { until: BEGINNING + Duration::from_secs(60) }));
    put("COMPLETED").item("data", AttributeValue::S("7".to_owned())).send().await.expect("it is put");
    assert_eq!(begin().await, Ok(Begun::Completed { data: "7".to_owned() }));
    put("EXPIRED").send().await.expect("it is put");
    assert!(begin().await.is_err());
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_damaged_and_hides_no_other() {
    let subject = stores().await;
    let (stores, client) = (&subject.ports, client(&subject.keep));
    let new = accepted(stores).await;
    let key = [("pk", new.run.to_string()), ("sk", "head".to_owned())];
    let whole = item(&client, "test-runs", &key).await;
    for (name, value) in [
        ("v", AttributeValue::N("3".to_owned())),
        ("tenant", AttributeValue::S("no#tenant".to_owned())),
        ("epoch", AttributeValue::S("1".to_owned())),
        ("lease_holder", AttributeValue::S("half a lease".to_owned())),
        ("status", AttributeValue::S("flying".to_owned())),
    ] {
        let put = client.put_item().table_name("test-runs").set_item(Some(whole.clone())).item(name, value);
        put.send().await.expect("it is put");
        let head = stores.heads.head(new.run).await;
        assert!(matches!(head, Err(JournalError::DamagedHead { .. })), "{name}: {head:?}");
        let listing = windlass::journal::Listing::Of {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
        };
        assert_eq!(stores.heads.list(&listing, 10).await, Ok(vec![]));
    }
    client.put_item().table_name("test-runs").set_item(Some(whole)).send().await.expect("it is put");
    assert!(stores.heads.head(new.run).await.is_ok_and(|head| head.is_some()));
}

#[tokio::test]
async fn every_item_of_a_run_says_when_it_expires() {
    let subject = stores().await;
    let client = client(&subject.keep);
    subject.ports.journal.accept(&subject.ports.large_run("k")).await.expect("it is taken on");
    let items = client.scan().table_name("test-runs").send().await.expect("it answers").items.unwrap_or_default();
    let expires = AttributeValue::N((BEGINNING + KEPT_FOR).as_seconds().to_string());
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|item| item.get("expires") == Some(&expires)), "{items:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_unavailable_and_a_table_that_is_not_there_refuses() {
    let subject = stores().await;
    let run = subject.ports.new_run("k").run;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let unreachable = aws::Runs::new(Clients::at(&closed).dynamodb(), "test-runs", "test-idempotency", clock());
    let load = unreachable.load(run, 1).await;
    assert!(matches!(load, Err(JournalError::Unavailable { .. })), "{load:?}");
    let misnamed = aws::Runs::new(client(&subject.keep), "no-table", "test-idempotency", clock());
    let head = misnamed.head(run).await;
    assert_eq!(head, Err(JournalError::Refused { message: "GetItem: ResourceNotFoundException".to_owned() }));
}
