//! Snapshots as items beside the journal: `sk = snapshot#00`, `snapshot#01`, …, each a part.
//!
//! Parts of two snapshots can stand beside each other when two processes save at once, or one dies in between. Each part says of which it
//! is, by a digest of the whole, and parts of different ones count for nothing.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use sha2::{Digest as _, Sha256};

use super::{
    attributes::{expires, number, seconds, text},
    errors::Fault,
    head_item::Item,
    journal::Runs,
};
use crate::{clock::Timestamp, ids::RunId, run::snapshot::Snapshot};

/// The most bytes of one part: an item has 400 KB with its attribute names
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
const PART_BYTES_MAX: usize = 350 * 1024;

/// What the sort keys of all parts begin with; after all entries and the head.
const PREFIX: &str = "snapshot#";

impl Runs {
    /// Puts the parts in order, over what is there.
    pub(super) async fn put_snapshot(&self, run: RunId, snapshot: &Snapshot, until: Timestamp) -> Result<(), Fault> {
        let digest = digest(&snapshot.deflated);
        let parts = snapshot.deflated.chunks(PART_BYTES_MAX);
        let count = parts.len() as u64;
        for (part, bytes) in parts.enumerate() {
            let item = Item::from([
                ("pk".to_owned(), text(run)),
                ("sk".to_owned(), text(format!("{PREFIX}{part:02}"))),
                ("seq".to_owned(), number(snapshot.seq)),
                ("v".to_owned(), number(snapshot.version)),
                ("parts".to_owned(), number(count)),
                ("digest".to_owned(), text(&digest)),
                ("z".to_owned(), AttributeValue::B(Blob::new(bytes))),
                ("expires".to_owned(), seconds(until)),
            ]);
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
            put.send().await.map_err(|error| Fault::of("PutItem", &error))?;
        }
        Ok(())
    }

    /// The snapshot, if all of its parts are there and none has expired. Read with eventual consistency, at half the price: an older one
    /// does as well.
    pub(super) async fn get_snapshot(&self, run: RunId) -> Result<Option<Snapshot>, Fault> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :run AND begins_with(sk, :prefix)")
            .expression_attribute_values(":run", text(run))
            .expression_attribute_values(":prefix", text(PREFIX));
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let page = query.clone().set_exclusive_start_key(start).send().await;
            let page = page.map_err(|error| Fault::of("Query", &error))?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            // A snapshot has three parts at most.
            if start.is_none() || items.len() > 8 {
                break;
            }
        }
        let now = self.clock.now();
        Ok(whole(items.into_iter().filter(|item| !expires(item).has_expired(now)).collect()))
    }
}

/// The snapshot of which `parts` are the parts, in order.
fn whole(parts: Vec<Item>) -> Option<Snapshot> {
    let first = parts.first()?;
    let count: usize = read(first, "parts")?;
    let (seq, version, wanted) = (read(first, "seq")?, read(first, "v")?, first.get("digest")?.as_s().ok()?);
    // Parts of an older, larger one may follow.
    let deflated: Vec<u8> =
        parts.iter().take(count).filter_map(|part| part.get("z")?.as_b().ok()).fold(Vec::new(), |mut whole, part| {
            whole.extend_from_slice(part.as_ref());
            whole
        });
    (digest(&deflated) == *wanted).then_some(Snapshot { seq, version, deflated })
}

fn read<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
