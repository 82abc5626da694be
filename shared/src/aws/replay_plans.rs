//! Replay plans and the audit trail on DynamoDB.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, PutRequest, WriteRequest},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    attributes::{expires, seconds, text},
    errors::Fault,
    head_item::Item,
    lease::{Updated, update},
};
use crate::{
    audit::{AUDIT_KEPT_FOR, AuditRecord},
    clock::{Clock, Timestamp},
    dead_letter::{ItemStatus, PLAN_ITEMS_MAX, PLAN_KEPT_FOR, Plan, PlanError, PlanItem, ReplayPlans},
};

/// The partition of the audit trail.
const AUDIT: &str = "audit";
/// A plan's own sort key; it sorts after its items'.
const PLAN: &str = "plan";
/// The item is as the caller saw it.
const AS_SEEN: &str = "#state = :seen";

/// The most items of one `BatchWriteItem`
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>).
const BATCH_ITEMS_MAX: usize = 25;
/// How long that waits before it is sent again, longer each time: a plan's items are one partition, which takes 1,000 writes a second.
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// How often what a batch leaves over is sent again before the store counts as unavailable.
const BATCH_ATTEMPTS_MAX: usize = 5;

/// Replay plans and the audit trail on DynamoDB.
#[derive(Clone)]
pub struct Plans {
    client: Client,
    table: String,
    clock: Arc<dyn Clock>,
}

/// A plan without its items.
#[derive(PartialEq, Serialize, Deserialize)]
struct Cover {
    plan: Plan,
    items: usize,
}

impl Cover {
    fn of(plan: &Plan) -> Cover {
        Cover { plan: plan.clone_without_items(), items: plan.items.len() }
    }
}

impl Plans {
    /// Plans in the `controls` table of this name.
    pub fn new(client: Client, table: &str, clock: Arc<dyn Clock>) -> Self {
        Self { client, table: table.to_owned(), clock }
    }

    async fn cover(&self, id: &str) -> Result<Option<Cover>, PlanError> {
        let request = self.client.get_item().table_name(&self.table).key("pk", plan_key(id)).key("sk", text(PLAN));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        let live = answer.item.filter(|item| !expires(item).has_expired(self.clock.now()));
        live.map(|item| read(&item, "cover")).transpose()
    }

    async fn put(&self, item: Item) -> Result<(), PlanError> {
        let sent = self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await;
        sent.map(|_| ()).map_err(|error| Fault::of("PutItem", &error).into())
    }

    async fn put_all(&self, items: Vec<WriteRequest>) -> Result<(), PlanError> {
        let mut left = HashMap::from([(self.table.clone(), items)]);
        for attempt in 0..BATCH_ATTEMPTS_MAX {
            if attempt > 0 {
                self.clock.sleep_until(self.clock.now() + BATCH_WAIT * attempt as u32).await;
            }
            let request = self.client.batch_write_item().set_request_items(Some(left));
            let answer = request.send().await.map_err(|error| Fault::of("BatchWriteItem", &error))?;
            left = answer.unprocessed_items.unwrap_or_default();
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(Fault::Unavailable("BatchWriteItem: items are left over".to_owned()).into())
    }

    /// A partition's items, of which `limit` are wanted at most.
    async fn query(&self, partition: AttributeValue, order: Order, limit: usize) -> Result<Vec<Item>, PlanError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :partition")
            .expression_attribute_values(":partition", partition)
            .scan_index_forward(matches!(order, Order::Forward));
        let (mut found, mut start) = (Vec::new(), None);
        while found.len() < limit {
            let missing = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
            let request = query.clone().limit(missing).set_exclusive_start_key(start);
            let page = request.send().await.map_err(|error| Fault::of("Query", &error))?;
            found.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

enum Order {
    Forward,
    Backward,
}

#[async_trait]
impl ReplayPlans for Plans {
    async fn create(&self, plan: &Plan) -> Result<(), PlanError> {
        let refused = |message: String| Err(PlanError::Refused { message });
        if plan.items.len() > PLAN_ITEMS_MAX {
            return refused(format!("a plan of {} items; at most {PLAN_ITEMS_MAX} are kept", plan.items.len()));
        }
        // Writing the items of a plan that is there would undo what has become of them.
        match self.cover(&plan.id).await? {
            Some(there) if there == Cover::of(plan) => return Ok(()),
            Some(_) => return refused(format!("there is another plan `{}`", plan.id)),
            None => {}
        }
        let expires = plan.created + PLAN_KEPT_FOR;
        let mut requests = Vec::with_capacity(plan.items.len());
        for (position, item) in plan.items.iter().enumerate() {
            let put = PutRequest::builder().set_item(Some(plan_item(&plan.id, position, item, expires)?)).build();
            requests.push(WriteRequest::builder().put_request(put.map_err(Fault::refused)?).build());
        }
        for some in requests.chunks(BATCH_ITEMS_MAX) {
            self.put_all(some.to_vec()).await?;
        }
        let cover = ("cover".to_owned(), text(json(&Cover::of(plan))?));
        self.put(Item::from([
            key("pk", plan_key(&plan.id)),
            key("sk", text(PLAN)),
            key("expires", seconds(expires)),
            cover,
        ]))
        .await
    }

    async fn plan(&self, id: &str) -> Result<Option<Plan>, PlanError> {
        let Some(cover) = self.cover(id).await? else { return Ok(None) };
        let mut items = self.query(plan_key(id), Order::Forward, PLAN_ITEMS_MAX + 1).await?;
        items.retain(|item| item.contains_key("state"));
        items.sort_by_key(position);
        let items: Vec<PlanItem> = items.iter().map(read_plan_item).collect::<Result<_, _>>()?;
        match items.len() {
            there if there == cover.items => Ok(Some(Plan { items, ..cover.plan })),
            there => {
                Err(PlanError::Refused { message: format!("plan `{id}` has {there} of its {} items", cover.items) })
            }
        }
    }

    async fn advance(&self, plan: &str, key: &str, seen: &ItemStatus, to: &ItemStatus) -> Result<bool, PlanError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", plan_key(plan))
            .key("sk", text(item_key(key)))
            .update_expression("SET #state = :to")
            .condition_expression(AS_SEEN)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":seen", text(json(seen)?))
            .expression_attribute_values(":to", text(json(to)?));
        Ok(matches!(update(request).await?, Updated::Yes(_)))
    }

    async fn audit(&self, record: &AuditRecord) -> Result<(), PlanError> {
        self.put(audit_item(record)?).await
    }

    async fn audit_trail(&self, limit: usize) -> Result<Vec<AuditRecord>, PlanError> {
        let now = self.clock.now();
        // Lines are kept equally long: what follows an expired one has expired too.
        let items = self.query(text(AUDIT), Order::Backward, limit).await?;
        items.iter().filter(|item| !expires(item).has_expired(now)).map(|item| read(item, "record")).collect()
    }
}

/// The item of an audit record, whoever writes it.
pub(super) fn audit_item(record: &AuditRecord) -> Result<Item, Fault> {
    Ok(Item::from([
        key("pk", text(AUDIT)),
        key("sk", text(format!("{}#{}", record.at, record.id))),
        key("expires", seconds(record.at + AUDIT_KEPT_FOR)),
        key("record", text(serde_json::to_string(record).map_err(Fault::refused)?)),
    ]))
}

fn key(name: &str, value: AttributeValue) -> (String, AttributeValue) {
    (name.to_owned(), value)
}

fn plan_key(id: &str) -> AttributeValue {
    text(format!("replay#{id}"))
}

fn item_key(key: &str) -> String {
    format!("item#{key}")
}

fn plan_item(plan: &str, position: usize, item: &PlanItem, expires: Timestamp) -> Result<Item, PlanError> {
    Ok(Item::from([
        key("pk", plan_key(plan)),
        key("sk", text(item_key(&item.key))),
        key("key", text(&item.key)),
        key("fingerprint", text(&item.fingerprint)),
        key("state", text(json(&item.status)?)),
        key("position", AttributeValue::N(position.to_string())),
        key("expires", seconds(expires)),
    ]))
}

fn read_plan_item(item: &Item) -> Result<PlanItem, PlanError> {
    Ok(PlanItem {
        key: string(item, "key")?.to_owned(),
        fingerprint: string(item, "fingerprint")?.to_owned(),
        status: read(item, "state")?,
    })
}

fn position(item: &Item) -> usize {
    item.get("position").and_then(|position| position.as_n().ok()?.parse().ok()).unwrap_or(usize::MAX)
}

fn json(value: &impl Serialize) -> Result<String, PlanError> {
    serde_json::to_string(value).map_err(|error| PlanError::Refused { message: error.to_string() })
}

fn string<'a>(item: &'a Item, name: &str) -> Result<&'a str, PlanError> {
    let found = item.get(name).and_then(|value| value.as_s().ok());
    found.map(String::as_str).ok_or_else(|| PlanError::Refused { message: format!("no text under `{name}`") })
}

fn read<T: DeserializeOwned>(item: &Item, name: &str) -> Result<T, PlanError> {
    let malformed = |error| PlanError::Refused { message: format!("what is under `{name}` cannot be read: {error}") };
    serde_json::from_str(string(item, name)?).map_err(malformed)
}
