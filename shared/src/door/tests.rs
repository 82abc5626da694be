//! Who comes in, over buckets and a queue in memory.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use futures::future::select;

use super::{
    pressure::{Bound, Bounds, Pressure, SEEN_FOR},
    rate::Backlog,
    readiness::{self, Part, Readiness},
    *,
};
use crate::{
    clock::Timestamp,
    memory::{Buckets as InMemory, ManualClock, SeededRandom},
    queue::QueueError,
};

const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);

/// A queue that says what it is told to, and counts how often it is asked.
struct Says(Mutex<Result<u64, QueueError>>, AtomicU32);

#[async_trait]
impl Backlog for Says {
    async fn waiting(&self) -> Result<u64, QueueError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.lock().expect("no panic").clone()
    }
}

fn says(answer: Result<u64, QueueError>) -> Arc<Says> {
    Arc::new(Says(Mutex::new(answer), AtomicU32::new(0)))
}

fn door(limits: Limits, queue: Arc<Says>, clock: &Arc<ManualClock>) -> Door {
    let bounds = Bounds { busy: Bound::Messages(100), full: Bound::Messages(1_000) };
    let buckets = Arc::new(InMemory::new());
    Door {
        limits,
        reads: Reads { limits: Limits::OFF, buckets: buckets.clone(), clock: clock.clone() },
        waits: Limits::OFF,
        buckets,
        gauge: Gauge::new(queue, clock.clone(), bounds),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(1)),
    }
}

fn limits(tenant: &str, actor: &str) -> Limits {
    Limits { tenant: tenant.parse().expect("a limit"), actor: actor.parse().expect("a limit"), ..Limits::OFF }
}

async fn admit(door: &Door) -> Result<Vec<Standing>, Refusal> {
    door.admit(&"acme".parse().expect("a tenant"), &"ada".parse().expect("an actor")).await
}

#[tokio::test]
async fn nobody_is_counted_where_limits_and_bounds_are_off() {
    let clock = Arc::new(ManualClock::at(NOW));
    let mut door = door(Limits::OFF, says(Ok(1_000_000)), &clock);
    door.gauge = Gauge::new(says(Ok(1_000_000)), clock, Bounds::OFF);
    for _ in 0..1_000 {
        assert_eq!(admit(&door).await.expect("it is let in"), []);
    }
}

#[tokio::test]
async fn whoever_takes_more_than_the_limit_is_told_which_and_when() {
    let clock = Arc::new(ManualClock::at(NOW));
    let door = door(limits("100/1:100", "1/1:2"), says(Ok(0)), &clock);
    assert_eq!(admit(&door).await.expect("it is let in").iter().map(|one| one.left).collect::<Vec<_>>(), [1, 99]);
    admit(&door).await.expect("it is let in");
    let Err(Refusal::Limited { empty, after, .. }) = admit(&door).await else { panic!("it is limited") };
    assert_eq!((empty, after), (vec![Whose::Actors], Duration::from_secs(1)));
    clock.advance(after);
    admit(&door).await.expect("it is let in again");
}

/// A tenant fills a queue with a bound of 20, and is turned away; another one, which has nothing in it, is not.
#[tokio::test]
async fn a_full_queue_turns_the_tenant_away_that_filled_it_and_lets_an_idle_one_in() {
    let clock = Arc::new(ManualClock::at(NOW));
    let queue = says(Ok(0));
    let mut door = door(limits("3000/60:150", "off"), queue.clone(), &clock);
    let bounds = Bounds { busy: Bound::Off, full: Bound::Messages(20) };
    door.gauge = Gauge::new(queue.clone(), clock.clone(), bounds);
    for _ in 0..20 {
        // Steadily, so that its bucket is full all the time.
        clock.advance(Duration::from_millis(100));
        admit(&door).await.expect("nothing waits yet");
    }
    *queue.0.lock().expect("no panic") = Ok(20);
    clock.advance(SEEN_FOR);
    for _ in 0..3 {
        assert!(matches!(admit(&door).await, Err(Refusal::Overloaded { .. })), "it filled the queue");
    }
    let idle = async || door.admit(&"idle".parse().expect("a tenant"), &"bob".parse().expect("an actor")).await;
    let standings = idle().await.expect("it has nothing in the queue");
    assert!(standings.iter().all(|standing| standing.whose != Whose::Shares), "a share is not shown");
    idle().await.expect("a tenth of the bound is its share");
    assert!(matches!(idle().await, Err(Refusal::Overloaded { .. })), "and no more than that");
    *queue.0.lock().expect("no panic") = Ok(40);
    clock.advance(SEEN_FOR);
    let other = door.admit(&"third".parse().expect("a tenant"), &"eve".parse().expect("an actor")).await;
    assert!(matches!(other, Err(Refusal::Overloaded { .. })), "at twice the bound nobody is let in");
}

#[tokio::test]
async fn who_reads_or_waits_too_often_is_told_and_takes_nothing_of_what_starts_runs() {
    let clock = Arc::new(ManualClock::at(NOW));
    let mut door = door(limits("off", "1/1:1"), says(Ok(0)), &clock);
    (door.reads.limits, door.waits) = (limits("1/10:2", "off"), limits("off", "1/25:1"));
    let (tenant, actor) = ("acme".parse().expect("a tenant"), "ada".parse().expect("an actor"));
    for _ in 0..2 {
        door.reads.may_read(&tenant, &actor).await.expect("there is a token");
    }
    let Err(Refusal::Limited { empty, after, .. }) = door.reads.may_read(&tenant, &actor).await else {
        panic!("it is limited")
    };
    assert_eq!((empty, after), (vec![Whose::Tenants], Duration::from_secs(10)));
    assert_eq!(door.may_wait(&tenant, &actor).await, Ok(()));
    assert_eq!(door.may_wait(&tenant, &actor).await, Err(Duration::from_secs(25)));
    admit(&door).await.expect("starting has a bucket of its own");
}

#[tokio::test]
async fn a_queue_at_twice_its_bound_turns_everybody_away_before_a_token_is_taken() {
    let clock = Arc::new(ManualClock::at(NOW));
    let queue = says(Ok(2_000));
    let door = door(limits("100/1:100", "1/1:1"), queue.clone(), &clock);
    for _ in 0..3 {
        let Err(Refusal::Overloaded { after }) = admit(&door).await else { panic!("it is overloaded") };
        assert!((OVERLOADED_FOR..OVERLOADED_FOR * 2).contains(&after), "{after:?}");
    }
    assert_eq!(queue.1.load(Ordering::Relaxed), 1, "the queue is asked once");
    *queue.0.lock().expect("no panic") = Ok(0);
    clock.advance(SEEN_FOR);
    admit(&door).await.expect("there is room, and the token is there");
}

#[tokio::test]
async fn a_busy_queue_turns_those_away_who_have_used_up_half_of_their_bucket() {
    let clock = Arc::new(ManualClock::at(NOW));
    let door = door(limits("1/60:10", "off"), says(Ok(100)), &clock);
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(admit(&door).await.is_ok());
    }
    assert_eq!(answers, [true, true, true, true, true, false, false, false]);
    let quiet = door.admit(&"other".parse().expect("a tenant"), &"bob".parse().expect("an actor")).await;
    quiet.expect("a quiet tenant is let in");
}

#[tokio::test]
async fn a_queue_that_does_not_say_how_much_waits_turns_nobody_away() {
    let clock = Arc::new(ManualClock::at(NOW));
    let down = says(Err(QueueError::Unavailable { message: "down".to_owned() }));
    let door = door(Limits::OFF, down, &clock);
    admit(&door).await.expect("it is let in");
    assert_eq!(door.gauge.pressure().await, Pressure::None);
}

struct Stands(&'static str, Mutex<Result<(), String>>, AtomicU32);

#[async_trait]
impl Part for Stands {
    fn name(&self) -> &'static str {
        self.0
    }
    async fn reach(&self) -> Result<(), String> {
        self.2.fetch_add(1, Ordering::Relaxed);
        self.1.lock().expect("no panic").clone()
    }
}

/// A part that never answers.
struct Hangs;

#[async_trait]
impl Part for Hangs {
    fn name(&self) -> &'static str {
        "hangs"
    }
    async fn reach(&self) -> Result<(), String> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_named_and_asked_again_only_after_a_while() {
    let clock = Arc::new(ManualClock::at(NOW));
    let part = Arc::new(Stands("runs", Mutex::new(Err("table `x` not found".to_owned())), AtomicU32::new(0)));
    let fine: Arc<dyn Part> = Arc::new(Stands("queue", Mutex::new(Ok(())), AtomicU32::new(0)));
    let readiness = Readiness::new(vec![part.clone(), fine], clock.clone());
    assert_eq!(readiness.look().await, [("runs", false), ("queue", true)]);
    *part.1.lock().expect("no panic") = Ok(());
    assert_eq!(readiness.look().await[0], ("runs", false), "it is remembered");
    assert_eq!(part.2.load(Ordering::Relaxed), 1);
    clock.advance(readiness::SEEN_FOR);
    assert_eq!(readiness.look().await, [("runs", true), ("queue", true)]);
}

#[tokio::test]
async fn a_part_that_does_not_answer_holds_nobody_up() {
    let clock = Arc::new(ManualClock::at(NOW));
    let readiness = Readiness::new(vec![Arc::new(Hangs)], clock.clone());
    let look = std::pin::pin!(readiness.look());
    let waited = async {
        clock.advance(readiness::ANSWER_WITHIN);
        std::future::pending::<()>().await;
    };
    let found = match select(look, std::pin::pin!(waited)).await {
        futures::future::Either::Left((found, _)) => found,
        futures::future::Either::Right(_) => panic!("nobody waits for ever"),
    };
    assert_eq!(found, [("hangs", false)]);
}
