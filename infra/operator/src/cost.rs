//! What a stretch of work would cost on AWS, from what the store reported as consumed and from the requests that were sent.

use serde::Serialize;
use windlass_local::Meter;

/// US dollars per million write request units, DynamoDB on demand, us-east-1 (<https://aws.amazon.com/dynamodb/pricing/on-demand/>).
pub const USD_PER_MILLION_WRITE_UNITS: f64 = 0.625;
/// US dollars per million read request units, same page.
pub const USD_PER_MILLION_READ_UNITS: f64 = 0.125;
/// US dollars per million requests to a standard queue, after the free tier (<https://aws.amazon.com/sqs/pricing/>).
pub const USD_PER_MILLION_QUEUE_REQUESTS: f64 = 0.40;
/// US dollars per GB (10⁹ bytes, to be on the safe side) that CloudWatch Logs takes in, us-east-1, first tier
/// (<https://aws.amazon.com/cloudwatch/pricing/>).
pub const USD_PER_LOG_GB: f64 = 0.50;

/// What others take for a million of what they charge by, in US dollars at list price: what it is, the price, where it stands. A step of
/// an agent is at least one of each.
pub const PEERS_USD_PER_MILLION: [(&str, f64, &str); 3] = [
    ("operations of AWS Lambda durable functions", 8.0, "https://aws.amazon.com/lambda/pricing/"),
    ("state transitions of AWS Step Functions, Standard", 25.0, "https://aws.amazon.com/step-functions/pricing/"),
    ("actions of Temporal Cloud, first tier", 50.0, "https://temporal.io/pricing"),
];

/// The operations whose units are read units; every other one writes.
const READS: [&str; 5] = ["GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"];

/// The queue requests that are charged. A poll that finds nothing is charged too, but it belongs to the hour and not to the work.
const QUEUE_REQUESTS: [&str; 6] = [
    "SQS.SendMessage",
    "SQS.SendMessageBatch",
    "SQS.ReceiveMessage",
    "SQS.DeleteMessage",
    "SQS.DeleteMessageBatch",
    "SQS.ChangeMessageVisibility",
];

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Write request units.
    pub write_units: f64,
    /// Read request units.
    pub read_units: f64,
    /// Queue requests.
    pub queue_requests: u64,
    /// Conditional writes that were refused: charged by AWS, not reported by the store, counted as one unit each.
    pub refused_writes: u64,
    /// Bytes of logs: what functions told.
    pub log_bytes: u64,
}

impl Cost {
    /// Of what `meter` counted for tables other than `except`.
    pub fn of(meter: &Meter, except: &str) -> Cost {
        let mut cost = Cost::default();
        for (operation, tables) in &meter.capacity_units {
            let name = operation.rsplit('.').next().unwrap_or(operation);
            let units: f64 = tables.iter().filter(|(table, _)| *table != except).map(|(_, units)| units).sum();
            if READS.contains(&name) { cost.read_units += units } else { cost.write_units += units }
        }
        cost.queue_requests = QUEUE_REQUESTS.iter().map(|name| meter.requests_of(name)).sum();
        let refused = |name: &str| {
            name.ends_with("ConditionalCheckFailedException") || name.ends_with("TransactionCanceledException")
        };
        cost.log_bytes = meter.log_bytes.values().sum();
        cost.refused_writes = meter.errors.iter().filter(|(name, _)| refused(name)).map(|(_, count)| count).sum();
        cost
    }

    /// What telling it costs, in US dollars.
    pub fn logs_usd(&self) -> f64 {
        self.log_bytes as f64 / 1e9 * USD_PER_LOG_GB
    }

    /// What store and queue cost, in US dollars.
    pub fn usd(&self) -> f64 {
        let writes = (self.write_units + self.refused_writes as f64) * USD_PER_MILLION_WRITE_UNITS;
        let reads = self.read_units * USD_PER_MILLION_READ_UNITS;
        let queue = self.queue_requests as f64 * USD_PER_MILLION_QUEUE_REQUESTS;
        (writes + reads + queue) / 1e6
    }
}
