//! Records of scheduled jobs on DynamoDB. The race that the conditions decide is drawn at [`JobRecords::begin`].

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, operation::update_item::builders::UpdateItemFluentBuilder, types::ReturnValue};
use serde::Deserialize;

use super::{
    attributes::{millis, number, text},
    errors::Fault,
    head_item::Item,
    lease::{Updated, update},
};
use crate::{
    clock::Timestamp,
    schedule::{JobBegun, JobLock, JobRecord, JobRecords, LastRun, ScheduleError},
};

/// The partition of all job records: there are a handful.
const PARTITION: &str = "schedule";
/// Nobody is at it, or it is the caller, who did not hear so.
const UNLOCKED: &str = "(attribute_not_exists(lock_until) OR lock_until <= :now OR lock_owner = :owner)";
/// It has not been done for this time or a later one.
const NOT_DONE: &str = "(attribute_not_exists(scheduled_for) OR scheduled_for < :scheduled)";
/// The caller is at it.
const MINE: &str = "lock_owner = :owner";

/// Job records on DynamoDB.
#[derive(Clone)]
pub struct Jobs {
    client: Client,
    table: String,
}

impl Jobs {
    /// Records in the `controls` table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }

    fn update_job(&self, job: &str) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("pk", text(PARTITION)).key("sk", text(job))
    }
}

/// The attributes; times are in milliseconds.
#[derive(Deserialize)]
struct JobItem {
    sk: String,
    lock_owner: Option<String>,
    lock_until: Option<i64>,
    /// The last time it was done for.
    scheduled_for: Option<i64>,
    started: Option<i64>,
    ended: Option<i64>,
    handled: Option<u64>,
    error: Option<String>,
    behind: Option<u64>,
    /// The cursor where the next run goes on.
    next: Option<String>,
}

impl JobItem {
    fn read(item: Item) -> Result<JobItem, Fault> {
        serde_dynamo::from_item(item).map_err(|error| Fault::refused(format!("not a job record: {error}")))
    }

    fn record(self) -> JobRecord {
        let moment = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let lock = self.lock_owner.zip(moment(self.lock_until)).map(|(owner, until)| JobLock { owner, until });
        let times = moment(self.started).zip(moment(self.ended));
        let last = times.map(|(started, ended)| LastRun {
            scheduled_for: moment(self.scheduled_for).unwrap_or_default(),
            started,
            ended,
            handled: self.handled.unwrap_or(0),
            error: self.error,
            behind_seconds: self.behind,
            next: self.next,
        });
        JobRecord { job: self.sk, lock, last }
    }
}

#[async_trait]
impl JobRecords for Jobs {
    async fn begin(
        &self,
        job: &str,
        scheduled_for: Timestamp,
        lock: &JobLock,
        now: Timestamp,
    ) -> Result<JobBegun, ScheduleError> {
        let request = self
            .update_job(job)
            .update_expression("SET lock_owner = :owner, lock_until = :until")
            .condition_expression(format!("{UNLOCKED} AND {NOT_DONE}"))
            .expression_attribute_values(":owner", text(&lock.owner))
            .expression_attribute_values(":until", millis(lock.until))
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":scheduled", millis(scheduled_for));
        let request = request.return_values(ReturnValue::AllNew);
        let item = match update(request).await? {
            Updated::Yes(item) => {
                let record = JobItem::read(item.unwrap_or_default())?;
                return Ok(JobBegun::Started { stopped_at: record.next });
            }
            Updated::No(item) => item,
        };
        let record = JobItem::read(item.unwrap_or_default())?.record();
        let done = record.last.is_some_and(|last| last.scheduled_for >= scheduled_for);
        match record.lock {
            Some(JobLock { until, .. }) if !done => Ok(JobBegun::Locked { until }),
            _ => Ok(JobBegun::Done),
        }
    }

    async fn finish(&self, job: &str, owner: &str, run: &LastRun) -> Result<bool, ScheduleError> {
        let request = self
            .update_job(job)
            .condition_expression(MINE)
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":started", millis(run.started))
            .expression_attribute_values(":ended", millis(run.ended))
            .expression_attribute_values(":handled", number(run.handled));
        let times = "SET started = :started, ended = :ended, handled = :handled";
        let (times, behind, request) = match run.behind_seconds {
            Some(seconds) => {
                let request = request.expression_attribute_values(":behind", number(seconds));
                (format!("{times}, behind = :behind"), "", request)
            }
            None => (times.to_owned(), ", behind", request),
        };
        let (times, behind, request) = match &run.next {
            Some(cursor) => {
                let request = request.expression_attribute_names("#next", "next");
                (
                    format!("{times}, #next = :next"),
                    behind.to_owned(),
                    request.expression_attribute_values(":next", text(cursor)),
                )
            }
            None => (times, format!("{behind}, #next"), request.expression_attribute_names("#next", "next")),
        };
        let request = match &run.error {
            None => request
                .update_expression(format!(
                    "{times}, scheduled_for = :scheduled REMOVE lock_owner, lock_until, #error{behind}"
                ))
                .expression_attribute_values(":scheduled", millis(run.scheduled_for)),
            Some(error) => request
                .update_expression(format!("{times}, #error = :error REMOVE lock_owner, lock_until{behind}"))
                .expression_attribute_values(":error", text(error)),
        };
        Ok(matches!(update(request).await?, Updated::Yes(_)))
    }

    async fn list(&self) -> Result<Vec<JobRecord>, ScheduleError> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :partition")
            .expression_attribute_values(":partition", text(PARTITION))
            .send()
            .await
            .map_err(|error| Fault::of("Query", &error))?;
        let items = answer.items.unwrap_or_default().into_iter();
        items.map(|item| Ok(JobItem::read(item)?.record())).collect()
    }
}
