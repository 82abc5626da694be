use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::*;
use crate::{
    clock::{Clock, Timestamp},
    journal::{Heads as _, Journal as _},
    memory::{ManualClock, Queue, Records, Runs, SeededRandom},
    run::{
        accept::{Incoming, Terms, accept},
        entry::{Entry, Writer},
        limits::Limits,
        outside::History,
        request::{RunRequest, Source},
    },
};

const DAY: Duration = Duration::from_secs(86_400);

/// A run of ada's, taken on and cancelled by `by` that often.
async fn cancelled_times(times: usize) -> (Runs, RunId, Vec<Cancellation>) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000)));
    let (runs, queue) = (Runs::new(clock.clone(), &Records::new()), Queue::new(clock.clone(), DAY, 3));
    let (random, release) = (SeededRandom::new(1), "r1".parse().expect("a release"));
    let outside = Outside {
        journal: &runs,
        wake_ups: &queue,
        clock: clock.as_ref(),
        random: &random,
        release: &release,
        telemetry: None,
    };
    let request = RunRequest {
        tenant: "acme".parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        task: "refund".parse().expect("a task"),
        payload: json!({}),
        roles: Default::default(),
    };
    let by = request.actor.clone();
    let incoming = Incoming {
        request,
        source: Source::Http,
        client_key: "k".to_owned(),
        person: None,
        trace: None,
        admitted: None,
    };
    let terms = Terms { limits: Limits::default(), key_kept_for: DAY, run_kept_for: 90 * DAY };
    let run = accept(&outside, &terms, incoming).await.expect("it is taken on").run();
    let mut results = Vec::new();
    for _ in 0..times {
        results.push(cancel(&outside, run, &by, Some("changed my mind")).await.expect("the store answers"));
    }
    (runs, run, results)
}

#[tokio::test]
async fn a_cancellation_is_one_entry_and_makes_the_run_ready() {
    let (runs, run, results) = cancelled_times(3).await;
    let ending = Cancellation::AlreadyEnding { reason: StopReason::Cancelled };
    assert_eq!(results, [Cancellation::Requested, ending.clone(), ending]);
    let history = History::load(&runs, run).await.expect("it can be read");
    let ending = history.state.abandoned.map(|ending| ending.reason);
    assert_eq!((history.state.seq, ending), (2, Some(StopReason::Cancelled)));
    assert_eq!(runs.head(run).await.expect("the store answers").expect("there is a head").interjections, 1);
}

#[tokio::test]
async fn a_run_that_is_over_is_not_written_to() {
    let (runs, run, _) = cancelled_times(1).await;
    let head = runs.head(run).await.expect("the store answers").expect("there is a head");
    let stopped = Event::Stopped { reason: StopReason::Cancelled, standing: vec![], in_doubt: vec![] };
    let entry = Entry { at: head.created, writer: Writer::Holder(1), release: head.release, events: vec![stopped] };
    runs.append(run, 3, &entry, head.expires).await.expect("the store answers");
    let clock = ManualClock::at(head.created);
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let (queue, random) = (Queue::new(clock.clone(), DAY, 3), SeededRandom::new(2));
    let release = "r1".parse().expect("a release");
    let outside = Outside {
        journal: &runs,
        wake_ups: &queue,
        clock: clock.as_ref(),
        random: &random,
        release: &release,
        telemetry: None,
    };
    let result = cancel(&outside, run, &head.actor, None).await.expect("the store answers");
    assert_eq!(result, Cancellation::AlreadyOver { reason: StopReason::Cancelled });
    assert_eq!(queue.receive(10), vec![], "nobody is woken");
}
