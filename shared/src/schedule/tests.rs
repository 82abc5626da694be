//! The jobs over the stores in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;

use super::{
    Job, JobRecords as _, LastRun,
    rescue::{APART_SECONDS_MAX, DUE_AGAIN_AFTER, LOOK_AHEAD, PAGE_RUNS, SWEEP_FOR, Sweep, Sweeper},
    retention::{GRACE, PARTS, Place, Retention as _, part_at},
    run_job::{JobError, JobRun, Jobs, LOCK_FOR, Worked, run_job},
};
use crate::{
    clock::{CLOCK_SKEW_MAX, Clock as _, Timestamp},
    idempotency::{Key, PayloadHash},
    ids::{RunId, Tenant, TraceId},
    journal::{
        DUE_SHARDS, Due, DueQueue, Head, HeadStatus, Heads, Journal as _, JournalError, Listing, NewRun, Position,
        Postponed, RESCUE_AFTER, Waiting,
    },
    lease::{Claim, Leases as _, Leave},
    memory::{self, ManualClock, Queue, SeededRandom},
    queue::{Message, QueueError, Share, Sleeper, WakeUps},
    run::{
        entry::{Accepted, Entry, Event, Writer},
        limits::Limits,
        request::{RunRequest, Source},
    },
};

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// After which a run that nobody has looked at is woken.
const WOKEN_AFTER: Duration = RESCUE_AFTER.saturating_add(CLOCK_SKEW_MAX);
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

struct World {
    clock: Arc<ManualClock>,
    random: SeededRandom,
    runs: memory::Runs,
    queue: Queue,
    records: memory::Jobs,
}

impl World {
    fn new() -> World {
        let clock = Arc::new(ManualClock::at(START));
        World {
            runs: memory::Runs::new(clock.clone(), &memory::Records::new()),
            queue: Queue::new(clock.clone(), Duration::from_secs(60), 3),
            records: memory::Jobs::new(),
            random: SeededRandom::new(1),
            clock,
        }
    }

    fn jobs(&self) -> Jobs<'_> {
        Jobs {
            records: &self.records,
            heads: &self.runs,
            wake_ups: &self.queue,
            retention: &self.runs,
            clock: &*self.clock,
            random: &self.random,
        }
    }

    async fn accept(&self) -> RunId {
        let run = RunId::generate(&*self.clock, &self.random);
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: json!({}),
            roles: Default::default(),
        };
        let key = Key::of("runs", &request.tenant, &request.actor, &run.to_string()).expect("a key");
        let trace = TraceId::generate(&self.random);
        let accepted = Accepted::new(request, Source::Http, trace, Limits::default());
        let now = self.clock.now();
        let entry = Entry {
            at: now,
            writer: Writer::Outside("test".to_owned()),
            release: "r1".parse().expect("a release"),
            events: vec![Event::Accepted(Box::new(accepted))],
        };
        let hash = PayloadHash::of(&run.to_string().into());
        let new = NewRun {
            run,
            key,
            payload_hash: hash,
            key_expires: now + KEPT_FOR,
            expires: now + KEPT_FOR,
            entry,
            admitted: None,
        };
        self.runs.accept(&new).await.expect("memory accepts");
        run
    }

    async fn park(&self, run: RunId, status: HeadStatus, due: Option<Timestamp>) {
        let now = self.clock.now();
        let Claim::Won(_, lease) = self.runs.claim(run, "h", now, now + Duration::from_secs(30)).await.expect("memory")
        else {
            panic!("the run can be claimed")
        };
        let leave = Leave { status, ready_from: due, due, now, interjections: 0, strikes: 0 };
        self.runs.leave(run, &lease, &leave).await.expect("memory");
    }

    fn sweeper(&self) -> Sweeper<'_> {
        Sweeper { heads: &self.runs, wake_ups: &self.queue, random: &self.random, clock: &*self.clock }
    }

    async fn sweep(&self) -> Sweep {
        self.sweeper().sweep().await
    }

    fn woken(&self) -> Vec<RunId> {
        let woken = self.queue.receive(usize::MAX).into_iter().map(|received| match Message::parse(&received.body) {
            Ok(Message::WakeUp { run }) => run,
            other => panic!("not a wake-up: {other:?}"),
        });
        woken.collect()
    }
}

/// A queue that loses nothing but takes nothing either, while it is told to.
struct Refusing<'a> {
    queue: &'a Queue,
    down: AtomicBool,
    every_second: bool,
}

#[async_trait]
impl WakeUps for Refusing<'_> {
    async fn send(&self, message: &Message, share: &Share, delay: Duration) -> Result<(), QueueError> {
        self.queue.send(message, share, delay).await
    }

    async fn send_batch(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError> {
        match (self.down.load(Ordering::Relaxed), self.every_second) {
            (false, _) => self.queue.send_batch(sleepers).await,
            (true, false) => Err(QueueError::Unavailable { message: "down".to_owned() }),
            (true, true) => {
                let (sent, unsent): (Vec<_>, Vec<_>) =
                    sleepers.iter().enumerate().partition(|(index, _)| index % 2 == 0);
                let sent: Vec<Sleeper> = sent.into_iter().map(|(_, sleeper)| sleeper.clone()).collect();
                self.queue.send_batch(&sent).await?;
                Ok(unsent.into_iter().map(|(_, sleeper)| sleeper.run).collect())
            }
        }
    }
}

#[tokio::test]
async fn a_sweep_wakes_exactly_the_runs_that_are_due_before_the_next_one_each_at_its_time() {
    let world = World::new();
    let forgotten = world.accept().await;
    let finished = world.accept().await;
    world.park(finished, HeadStatus::Finished { outcome: "completed".to_owned() }, None).await;
    let timed = world.accept().await;
    world.park(timed, HeadStatus::Waiting, Some(START + LOOK_AHEAD)).await;
    let later = world.accept().await;
    world.park(later, HeadStatus::Waiting, Some(START + LOOK_AHEAD + Duration::from_millis(1))).await;

    let swept = world.sweep().await;
    assert_eq!((swept.woken, swept.problem(), swept.behind), (2, None, None));
    let mut woken = Vec::new();
    for _ in 0..2 {
        let visible = world.queue.next_visible().expect("a wake-up");
        world.clock.set(visible);
        woken.push((visible.since(START), world.woken()));
    }
    assert_eq!(woken, [(WOKEN_AFTER, vec![forgotten]), (LOOK_AHEAD + CLOCK_SKEW_MAX, vec![timed])]);
    // Of the next sweep's three, only one is due already; the others were woken and are due again later.
    let now = START + LOOK_AHEAD + Duration::from_secs(2);
    world.clock.set(now);
    assert_eq!((world.sweep().await.woken, world.woken()), (3, vec![later]));
}

#[tokio::test]
async fn a_run_that_is_held_is_woken_when_its_lease_is_over_and_not_before() {
    let world = World::new();
    let run = world.accept().await;
    let lease = START + Duration::from_secs(30);
    let Ok(Claim::Won(_, held)) = world.runs.claim(run, "h", START, lease).await else { panic!("it can be claimed") };
    let renewed = START + Duration::from_secs(50);
    world.runs.renew(run, &held, renewed).await.expect("memory").expect("it is held");
    assert_eq!(world.sweep().await.woken, 1);
    let woken = world.queue.next_visible().expect("a wake-up");
    assert_eq!(woken, renewed + CLOCK_SKEW_MAX);
    let before = woken - Duration::from_millis(1);
    assert!(matches!(world.runs.claim(run, "i", before, woken).await, Ok(Claim::Held { .. })));
    assert!(matches!(world.runs.claim(run, "i", woken, woken + LOOK_AHEAD).await, Ok(Claim::Won(..))));
}

#[tokio::test]
async fn runs_whose_worker_died_twice_are_woken_apart_and_others_together() {
    let world = World::new();
    let mut fine = BTreeSet::new();
    let lease = Duration::from_secs(5);
    for claims in [0, 1].into_iter().chain([2; 20]) {
        let run = world.accept().await;
        if claims < 2 {
            fine.insert(run);
        }
        for number in 0..claims {
            let now = START + (lease + CLOCK_SKEW_MAX) * number;
            let claim = world.runs.claim(run, &format!("h{number}"), now, now + lease).await;
            assert!(matches!(claim, Ok(Claim::Won(..))), "{claim:?}");
        }
    }
    assert_eq!(world.sweep().await.woken, 22);
    let mut moments = BTreeMap::<Duration, usize>::new();
    while moments.values().sum::<usize>() < 22 {
        let visible = world.queue.next_visible().expect("a wake-up");
        world.clock.set(visible);
        let woken = world.woken();
        if moments.is_empty() {
            assert!(visible.since(START) == WOKEN_AFTER && fine.iter().all(|run| woken.contains(run)));
        }
        moments.insert(visible.since(START), woken.len());
    }
    let latest = WOKEN_AFTER + Duration::from_secs(APART_SECONDS_MAX);
    assert!(moments.len() >= 6 && moments.keys().all(|moment| *moment <= latest), "{moments:?}");
}

#[tokio::test]
async fn a_run_whose_approval_has_expired_is_due_and_woken_by_the_same_sweep() {
    let world = World::new();
    let run = world.accept().await;
    let expiry = START + Duration::from_secs(3600);
    world.park(run, HeadStatus::AwaitingApproval, Some(expiry)).await;
    let early = expiry - LOOK_AHEAD - Duration::from_millis(1);
    world.clock.set(early);
    assert_eq!(world.sweep().await.woken, 0);
    world.clock.set(expiry + CLOCK_SKEW_MAX);
    assert_eq!(world.sweep().await.woken, 1);
    assert_eq!(world.woken(), [run]);
}

#[tokio::test]
async fn two_sweeps_at_once_wake_each_run_once() {
    let world = World::new();
    for _ in 0..45 {
        world.accept().await;
    }
    world.clock.advance(WOKEN_AFTER);
    let (a, b) = futures::join!(world.sweep(), world.sweep());
    assert_eq!(a.woken + b.woken, 45);
    let woken = world.woken();
    assert_eq!((woken.len(), BTreeSet::from_iter(woken).len()), (45, 45));
}

#[tokio::test]
async fn a_run_whose_wake_up_could_not_be_sent_is_reported_and_woken_by_a_later_sweep() {
    for every_second in [false, true] {
        let world = World::new();
        let runs: BTreeSet<RunId> = [world.accept().await, world.accept().await, world.accept().await].into();
        let queue = Refusing { queue: &world.queue, down: AtomicBool::new(true), every_second };
        world.clock.advance(WOKEN_AFTER);
        let failed = Sweeper { wake_ups: &queue, ..world.sweeper() }.sweep().await;
        assert_eq!(failed.woken + failed.unsent.len() as u64, 3);
        assert!(!failed.unsent.is_empty() || every_second, "{failed:?}");
        assert_eq!(failed.problem().is_some(), !failed.unsent.is_empty());

        queue.down.store(false, Ordering::Relaxed);
        world.clock.advance(DUE_AGAIN_AFTER + CLOCK_SKEW_MAX);
        let mended = Sweeper { wake_ups: &queue, ..world.sweeper() }.sweep().await;
        assert_eq!((mended.woken, mended.problem()), (3, None));
        assert_eq!(BTreeSet::from_iter(world.woken()), runs);
    }
}

/// An index that takes its time for a page, and is late: some of its rows are runs that have moved on.
struct Late<'a> {
    world: &'a World,
    page_takes: Duration,
    moved_on: BTreeSet<RunId>,
}

#[async_trait]
impl Heads for Late<'_> {
    async fn head(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        self.world.runs.head(run).await
    }

    async fn due(
        &self,
        queue: DueQueue,
        shard: u8,
        now: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, JournalError> {
        self.world.clock.advance(self.page_takes);
        self.world.runs.due(queue, shard, now, after, limit).await
    }

    async fn postpone_due(
        &self,
        run: RunId,
        seen: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Postponed>, JournalError> {
        if self.moved_on.contains(&run) {
            return Ok(None);
        }
        self.world.runs.postpone_due(run, seen, to).await
    }

    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<Head>, JournalError> {
        self.world.runs.list(listing, limit).await
    }

    async fn waiting(&self, tenant: &Tenant, after: Option<Position>, limit: usize) -> Result<Waiting, JournalError> {
        self.world.runs.waiting(tenant, after, limit).await
    }
}

#[tokio::test]
async fn a_sweep_wakes_as_many_as_are_due() {
    let world = World::new();
    for _ in 0..2_500 {
        world.accept().await;
    }
    world.clock.advance(WOKEN_AFTER);
    let swept = world.sweep().await;
    assert_eq!((swept.woken, swept.behind, swept.problem()), (2_500, None, None));
}

#[tokio::test]
async fn a_sweep_ends_in_time_says_how_late_it_is_and_the_next_one_goes_on() {
    let world = World::new();
    for _ in 0..2_000 {
        world.accept().await;
    }
    world.clock.advance(WOKEN_AFTER);
    let began = world.clock.now();
    let heads = Late { world: &world, page_takes: SWEEP_FOR / 16, moved_on: BTreeSet::new() };
    let first = Sweeper { heads: &heads, ..world.sweeper() }.sweep().await;
    // Sixteen pages fit, of four shards together.
    assert!((1_000..1_700).contains(&first.woken), "{first:?}");
    let took = world.clock.now().since(began);
    assert!(took < LOCK_FOR, "{took:?}");
    assert!(first.behind.is_some_and(|behind| behind >= CLOCK_SKEW_MAX + SWEEP_FOR), "{:?}", first.behind);
    let second = world.sweep().await;
    assert_eq!(second.behind, None);
    world.clock.advance(LOOK_AHEAD);
    assert_eq!(BTreeSet::from_iter(world.woken()).len(), 2_000, "somebody was left out");
}

#[tokio::test]
async fn runs_whose_worker_died_are_woken_before_those_whose_time_has_come() {
    let world = World::new();
    for _ in 0..1_200 {
        let timed = world.accept().await;
        world.park(timed, HeadStatus::Waiting, Some(START)).await;
    }
    let mut forgotten = BTreeSet::new();
    for _ in 0..20 {
        forgotten.insert(world.accept().await);
    }
    world.clock.advance(WOKEN_AFTER);
    let heads = Late { world: &world, page_takes: SWEEP_FOR / 8, moved_on: BTreeSet::new() };
    let swept = Sweeper { heads: &heads, ..world.sweeper() }.sweep().await;
    assert!(swept.behind >= Some(WOKEN_AFTER) && swept.woken < 1_220, "{swept:?}");
    assert!(forgotten.is_subset(&BTreeSet::from_iter(world.woken())), "timers came first");
}

#[tokio::test]
async fn rows_of_runs_that_have_moved_on_hide_nobody_behind_them() {
    let world = World::new();
    let mut moved_on = BTreeSet::new();
    for _ in 0..3 * PAGE_RUNS * usize::from(DUE_SHARDS) {
        moved_on.insert(world.accept().await);
    }
    world.clock.advance(Duration::from_millis(1));
    let last = [world.accept().await, world.accept().await];
    world.clock.advance(WOKEN_AFTER);
    let heads = Late { world: &world, page_takes: Duration::ZERO, moved_on };
    let swept = Sweeper { heads: &heads, ..world.sweeper() }.sweep().await;
    assert_eq!((swept.woken, swept.behind), (2, None));
    assert_eq!(BTreeSet::from_iter(world.woken()), BTreeSet::from(last));
}

#[tokio::test]
async fn a_job_runs_once_for_a_scheduled_time_however_often_that_is_delivered() {
    let world = World::new();
    world.accept().await;
    world.clock.advance(WOKEN_AFTER);
    let scheduled_for = world.clock.now();
    let first = world.jobs().run(Job::RescueRuns, scheduled_for).await.expect("it runs");
    let JobRun::Ran(LastRun { handled: 1, error: None, .. }) = first else { panic!("{first:?}") };
    world.clock.advance(WOKEN_AFTER);
    assert_eq!(world.jobs().run(Job::RescueRuns, scheduled_for).await, Ok(JobRun::Done));
    let earlier = scheduled_for - Duration::from_secs(60);
    assert_eq!(world.jobs().run(Job::RescueRuns, earlier).await, Ok(JobRun::Done));
    let later = world.jobs().run(Job::RescueRuns, world.clock.now()).await.expect("it runs");
    assert!(matches!(later, JobRun::Ran(LastRun { handled: 1, .. })), "a missed time is made up for by the next");
}

#[tokio::test]
async fn a_second_run_is_refused_while_the_first_is_at_it_and_takes_over_when_its_time_is_over() {
    let world = World::new();
    let clock = &*world.clock;
    let endless = run_job(&world.records, clock, &world.random, "rescue-runs", START, |_| std::future::pending());
    let mut endless = Box::pin(endless);
    assert!(futures::poll!(&mut endless).is_pending());
    let next = START + Duration::from_secs(20);
    clock.set(next);
    let until = START + LOCK_FOR;
    assert_eq!(world.jobs().run(Job::RescueRuns, next).await, Ok(JobRun::Locked { until }));

    clock.set(until);
    let taken_over = world.jobs().run(Job::RescueRuns, next).await.expect("it runs");
    assert!(matches!(taken_over, JobRun::Ran(_)), "{taken_over:?}");
    let late = endless.await.expect("it ends");
    let JobRun::Outlived(LastRun { error: Some(error), .. }) = late else { panic!("{late:?}") };
    assert_eq!(error, "not done within 30 s");
    let record = world.records.list().await.expect("memory").pop().and_then(|record| record.last);
    assert_eq!(
        record.map(|last| (last.scheduled_for, last.error)),
        Some((next, None)),
        "the record is the new owner's"
    );
}

#[tokio::test]
async fn a_job_that_failed_is_recorded_and_can_be_tried_again_for_the_same_time() {
    let world = World::new();
    let fail = |_| async { Worked { handled: 2, error: Some("half of it".to_owned()), ..Worked::default() } };
    let failed = run_job(&world.records, &*world.clock, &world.random, "j", START, fail).await.expect("it ran");
    assert!(matches!(failed, JobRun::Ran(LastRun { error: Some(_), handled: 2, .. })), "{failed:?}");
    let again = |_| async { Worked { handled: 1, ..Worked::default() } };
    let again = run_job(&world.records, &*world.clock, &world.random, "j", START, again).await.expect("it ran");
    assert!(matches!(again, JobRun::Ran(LastRun { error: None, .. })), "{again:?}");
}

#[tokio::test]
async fn a_time_that_has_not_come_is_refused_since_it_would_hold_up_every_time_before_it() {
    let world = World::new();
    let scheduled_for = START + Duration::from_secs(3600);
    let refused = world.jobs().run(Job::RescueRuns, scheduled_for).await;
    assert_eq!(refused, Err(JobError::InTheFuture { scheduled_for }));
    assert_eq!(world.records.list().await.expect("memory"), []);
}

#[tokio::test]
async fn a_day_of_retention_deletes_every_run_that_is_long_over_and_no_other() {
    let world = World::new();
    for _ in 0..40 {
        world.accept().await;
    }
    world.clock.set(START + KEPT_FOR + GRACE);
    let young = world.accept().await;
    let mut deleted = 0;
    for hour in 1..=PARTS {
        let at = START + KEPT_FOR + GRACE + Duration::from_secs(3600 * u64::from(hour));
        world.clock.set(at);
        match world.jobs().run(Job::EnforceRetention, at).await.expect("it runs") {
            JobRun::Ran(LastRun { handled, error: None, .. }) => deleted += handled,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(deleted, 80, "a head, with its entry, and an idempotency record each");
    assert_eq!(world.runs.all_heads().iter().map(|head| head.run).collect::<Vec<_>>(), [young]);
}

#[tokio::test]
async fn what_has_just_expired_is_left_to_dynamodb() {
    let world = World::new();
    world.accept().await;
    for part in 0..PARTS {
        for table in 0..4 {
            let place = Place { part, table, after: None };
            let purged = world.runs.purge(&place, START + KEPT_FOR).await.expect("memory");
            assert_eq!(purged.deleted, 0);
        }
    }
}

#[test]
fn the_hours_of_a_day_see_every_part() {
    let parts = (0..24).map(|hour| part_at(START + Duration::from_secs(hour * 3600)));
    assert_eq!(parts.collect::<BTreeSet<_>>(), (0..PARTS).collect());
}

#[test]
fn a_job_is_named_as_it_is_read() {
    for job in Job::ALL {
        assert_eq!(job.name().parse(), Ok(job));
        assert_eq!(serde_json::to_value(job).expect("JSON"), job.name());
    }
    let error = "expire-approvals".parse::<Job>().expect_err("it is no job").to_string();
    assert_eq!(error, "`expire-approvals` is not a job; the jobs are rescue-runs, enforce-retention");
}

#[tokio::test]
async fn a_head_that_was_postponed_keeps_its_run_claimable() {
    let world = World::new();
    let run = world.accept().await;
    world.clock.advance(WOKEN_AFTER);
    world.sweep().await;
    let head = world.runs.head(run).await.expect("memory").expect("it is there");
    assert_eq!((head.due, head.ready_from), (Some(world.clock.now() + DUE_AGAIN_AFTER), Some(START)));
}
