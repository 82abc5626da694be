//! What the stack was asked for: requests, and the capacity units that DynamoDB reported.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use dynoxide::types::ConsumedCapacity;
use serde::{Deserialize, Serialize};

/// A snapshot of everything counted since the stack started.
///
/// Names are `<service>.<operation>`, for example `DynamoDB.PutItem` or `SQS.ReceiveMessage`. Receives of an event
/// source mapping that found nothing are counted apart, as `SQS.ReceiveMessage.Empty`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    /// Requests by name, failed ones included.
    pub requests: BTreeMap<String, u64>,
    /// DynamoDB requests that failed, by name and error, as in `DynamoDB.PutItem ConditionalCheckFailedException`.
    /// DynamoDB charges a failed condition without reporting its units, so these are in no sum below.
    pub errors: BTreeMap<String, u64>,
    /// Capacity units by name and table, as reported in the answers.
    pub capacity_units: BTreeMap<String, BTreeMap<String, f64>>,
    /// Bytes that functions have written to their logs, by function, line breaks left out.
    #[serde(default)]
    pub log_bytes: BTreeMap<String, u64>,
}

impl Meter {
    /// What was counted after `earlier` was taken. Entries that did not change are left out.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut units = BTreeMap::new();
        for (name, tables) in &self.capacity_units {
            let before = earlier.capacity_units.get(name);
            let changed: BTreeMap<String, f64> = tables
                .iter()
                .map(|(table, units)| (table.clone(), units - before.and_then(|b| b.get(table)).unwrap_or(&0.0)))
                .filter(|(_, units)| *units != 0.0)
                .collect();
            if !changed.is_empty() {
                units.insert(name.clone(), changed);
            }
        }
        Self {
            requests: difference(&self.requests, &earlier.requests),
            errors: difference(&self.errors, &earlier.errors),
            capacity_units: units,
            log_bytes: difference(&self.log_bytes, &earlier.log_bytes),
        }
    }

    /// Requests of one operation, for example `requests_of("SQS.SendMessage")`.
    pub fn requests_of(&self, name: &str) -> u64 {
        self.requests.get(name).copied().unwrap_or(0)
    }

    /// Capacity units of one operation over all tables, for example `units_of("DynamoDB.PutItem")`.
    pub fn units_of(&self, name: &str) -> f64 {
        self.capacity_units.get(name).map_or(0.0, |tables| tables.values().sum())
    }
}

fn difference(later: &BTreeMap<String, u64>, earlier: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    later
        .iter()
        .map(|(name, count)| (name.clone(), count.saturating_sub(earlier.get(name).copied().unwrap_or(0))))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// The running counts behind [`Meter`].
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Meter>);

impl Counts {
    pub(crate) fn request(&self, name: &str) {
        self.with(|meter| add(&mut meter.requests, name, 1));
    }

    pub(crate) fn error(&self, name: &str, error: &str) {
        self.with(|meter| add(&mut meter.errors, &format!("{name} {error}"), 1));
    }

    pub(crate) fn logged(&self, function: &str, bytes: u64) {
        self.with(|meter| add(&mut meter.log_bytes, function, bytes));
    }

    pub(crate) fn consumed(&self, name: &str, capacity: &[ConsumedCapacity]) {
        self.with(|meter| {
            if !meter.capacity_units.contains_key(name) {
                meter.capacity_units.insert(name.to_owned(), BTreeMap::new());
            }
            let Some(tables) = meter.capacity_units.get_mut(name) else { return };
            for part in capacity {
                match tables.get_mut(&part.table_name) {
                    Some(units) => *units += part.capacity_units,
                    None => {
                        tables.insert(part.table_name.clone(), part.capacity_units);
                    }
                }
            }
        });
    }

    pub(crate) fn snapshot(&self) -> Meter {
        self.with(|meter| meter.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Meter) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Allocates only for a name not seen before.
fn add(counts: &mut BTreeMap<String, u64>, name: &str, more: u64) {
    match counts.get_mut(name) {
        Some(count) => *count += more,
        None => {
            counts.insert(name.to_owned(), more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumed(table: &str, units: f64) -> ConsumedCapacity {
        ConsumedCapacity { table_name: table.into(), capacity_units: units, ..Default::default() }
    }

    #[test]
    fn a_difference_holds_only_what_changed() {
        let counts = Counts::default();
        counts.request("SQS.SendMessage");
        counts.consumed("DynamoDB.PutItem", &[consumed("runs", 1.0), consumed("controls", 2.0)]);
        let earlier = counts.snapshot();
        counts.request("DynamoDB.PutItem");
        counts.consumed("DynamoDB.PutItem", &[consumed("runs", 3.0)]);
        counts.logged("step", 7);
        counts.logged("step", 4);
        let meter = counts.snapshot().since(&earlier);
        assert_eq!(meter.requests, BTreeMap::from([("DynamoDB.PutItem".to_owned(), 1)]));
        assert_eq!(meter.capacity_units["DynamoDB.PutItem"], BTreeMap::from([("runs".to_owned(), 3.0)]));
        assert_eq!(meter.log_bytes, BTreeMap::from([("step".to_owned(), 11)]));
        assert_eq!(counts.snapshot().units_of("DynamoDB.PutItem"), 6.0);
    }
}
