//! Records of scheduled jobs.

use std::time::Duration;

use windlass::{
    clock::Timestamp,
    schedule::{JobBegun, JobLock, JobRecord, LastRun},
};

use super::{BEGINNING, SECOND, Stores};

const JOB: &str = "rescue-runs";
const LOCKED_FOR: Duration = Duration::from_secs(50);
const EVERY: Duration = Duration::from_secs(60);

impl Stores {
    fn lock(&self, owner: &str) -> JobLock {
        JobLock { owner: owner.to_owned(), until: self.now() + LOCKED_FOR }
    }

    async fn begin_job(&self, scheduled_for: Timestamp, owner: &str) -> JobBegun {
        self.jobs.begin(JOB, scheduled_for, &self.lock(owner), self.now()).await.expect("the store answers")
    }

    fn done(&self, scheduled_for: Timestamp) -> LastRun {
        LastRun {
            scheduled_for,
            started: self.now(),
            ended: self.now() + SECOND,
            handled: 3,
            error: None,
            behind_seconds: None,
            next: None,
        }
    }

    async fn finish_job(&self, owner: &str, run: &LastRun) -> bool {
        self.jobs.finish(JOB, owner, run).await.expect("the store answers")
    }

    async fn last_run(&self) -> Option<LastRun> {
        self.jobs.list().await.expect("the store answers").into_iter().find(|record| record.job == JOB)?.last
    }
}

pub async fn a_job_is_locked_while_somebody_is_at_it(stores: &Stores) {
    assert_eq!(stores.begin_job(BEGINNING, "a").await, JobBegun::Started { stopped_at: None });
    let until = stores.now() + LOCKED_FOR;
    stores.clock.advance(SECOND);
    assert_eq!(stores.begin_job(BEGINNING, "b").await, JobBegun::Locked { until });
    assert_eq!(stores.begin_job(BEGINNING + EVERY, "b").await, JobBegun::Locked { until });
}

pub async fn a_repeated_delivery_of_a_done_job_is_done(stores: &Stores) {
    stores.begin_job(BEGINNING, "a").await;
    assert!(stores.finish_job("a", &stores.done(BEGINNING)).await);
    assert_eq!(stores.begin_job(BEGINNING, "b").await, JobBegun::Done);
    assert_eq!(stores.begin_job(BEGINNING - EVERY, "b").await, JobBegun::Done);
    assert_eq!(stores.begin_job(BEGINNING + EVERY, "b").await, JobBegun::Started { stopped_at: None });
}

pub async fn an_old_delivery_is_done_even_while_somebody_is_at_the_next(stores: &Stores) {
    stores.begin_job(BEGINNING, "a").await;
    stores.finish_job("a", &stores.done(BEGINNING)).await;
    stores.begin_job(BEGINNING + EVERY, "a").await;
    assert_eq!(stores.begin_job(BEGINNING, "b").await, JobBegun::Done);
}

pub async fn a_repeated_begin_of_a_job_whose_answer_was_lost_starts(stores: &Stores) {
    assert_eq!(stores.begin_job(BEGINNING, "a").await, JobBegun::Started { stopped_at: None });
    assert_eq!(stores.begin_job(BEGINNING, "a").await, JobBegun::Started { stopped_at: None });
}

pub async fn a_lock_that_is_over_is_taken_over_and_its_owner_is_too_late(stores: &Stores) {
    stores.begin_job(BEGINNING, "a").await;
    stores.clock.advance(LOCKED_FOR);
    assert_eq!(stores.begin_job(BEGINNING, "b").await, JobBegun::Started { stopped_at: None });
    assert!(!stores.finish_job("a", &stores.done(BEGINNING)).await);
    assert!(stores.finish_job("b", &stores.done(BEGINNING)).await);
}

pub async fn a_failed_job_can_be_tried_again_for_the_same_time(stores: &Stores) {
    stores.begin_job(BEGINNING, "a").await;
    stores.finish_job("a", &stores.done(BEGINNING)).await;
    stores.begin_job(BEGINNING + EVERY, "b").await;
    let failed = LastRun { error: Some("the queue is unavailable".to_owned()), ..stores.done(BEGINNING + EVERY) };
    assert!(stores.finish_job("b", &failed).await);
    assert_eq!(stores.last_run().await, Some(LastRun { scheduled_for: BEGINNING, ..failed }));
    assert_eq!(stores.begin_job(BEGINNING + EVERY, "c").await, JobBegun::Started { stopped_at: None });
    let done = stores.done(BEGINNING + EVERY);
    assert!(stores.finish_job("c", &done).await);
    assert_eq!(stores.last_run().await, Some(done));
}

pub async fn a_job_that_failed_the_first_time_was_done_for_no_time(stores: &Stores) {
    stores.begin_job(BEGINNING, "a").await;
    let failed = LastRun { error: Some("no".to_owned()), ..stores.done(BEGINNING) };
    stores.finish_job("a", &failed).await;
    assert_eq!(stores.last_run().await, Some(LastRun { scheduled_for: Timestamp::from_millis(0), ..failed }));
    assert_eq!(stores.begin_job(BEGINNING, "b").await, JobBegun::Started { stopped_at: None });
}

pub async fn a_job_goes_on_where_its_last_run_stopped(stores: &Stores) {
    let begun = async |number: u32, owner: &str| stores.begin_job(BEGINNING + EVERY * number, owner).await;
    let finish = async |number: u32, owner: &str, error: Option<&str>, next: Option<&str>| {
        let run = stores.done(BEGINNING + EVERY * number);
        let run = LastRun { error: error.map(str::to_owned), next: next.map(str::to_owned), ..run };
        assert!(stores.finish_job(owner, &run).await);
    };
    let started = |stopped_at: Option<&str>| JobBegun::Started { stopped_at: stopped_at.map(str::to_owned) };
    assert_eq!(begun(0, "a").await, started(None));
    finish(0, "a", None, Some("page 7")).await;
    assert_eq!(begun(1, "b").await, started(Some("page 7")));
    assert_eq!(begun(1, "b").await, started(Some("page 7")), "its first answer was lost");
    finish(1, "b", Some("the store is away"), Some("page 9")).await;
    assert_eq!(begun(1, "c").await, started(Some("page 9")), "what failed has gone on all the same");
    finish(1, "c", None, None).await;
    assert_eq!(begun(2, "d").await, started(None));
}

pub async fn a_job_that_nobody_began_is_not_finished(stores: &Stores) {
    assert!(!stores.finish_job("a", &stores.done(BEGINNING)).await);
    assert_eq!(stores.jobs.list().await, Ok(vec![]));
}

pub async fn every_job_is_listed_with_its_lock_and_its_last_run(stores: &Stores) {
    stores.begin_job(BEGINNING, "a").await;
    stores.finish_job("a", &stores.done(BEGINNING)).await;
    let lock = stores.lock("b");
    stores.jobs.begin("expire-approvals", BEGINNING, &lock, stores.now()).await.expect("the store answers");
    let expected = vec![
        JobRecord { job: "expire-approvals".to_owned(), lock: Some(lock), last: None },
        JobRecord { job: JOB.to_owned(), lock: None, last: Some(stores.done(BEGINNING)) },
    ];
    assert_eq!(stores.jobs.list().await, Ok(expected));
}
