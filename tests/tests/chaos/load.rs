//! What runs are asked for, and the people and the schedule that look after them.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until, timeout};
use windlass::{
    clock::{Clock as _, SystemClock},
    ids::RunId,
    journal::{HeadStatus, Heads as _},
    schedule::Job,
};
use windlass_tests::people::{answer, submit};

use crate::{
    blows::Window,
    scene::{Scene, Submitted},
};

/// Requests at once.
const CLIENTS: usize = 16;

/// A refund that is made at once, and one that finance has to approve.
const SMALL_CENTS: u64 = 1_000;
const LARGE_CENTS: u64 = 9_000;

/// One request of so many is for a large refund; one of so many runs is cancelled by who asked for it.
const LARGE_EVERY: usize = 10;
const CANCELLED_EVERY: usize = 20;

/// When the first sweep comes; the others follow every minute. The schedule is no part of the stack, which forgets its own when it dies.
const FIRST_SWEEP_AFTER: Duration = Duration::from_secs(20);

/// A sweep that could not be invoked is tried again, as EventBridge Scheduler does.
const SWEEP_TRIES_MAX: usize = 5;
const SWEEP_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Below the minute after which the next one comes.
const SWEEP_WITHIN: Duration = Duration::from_secs(50);

/// How often people look what waits for them.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often a cancellation that nobody took is tried again.
const CANCELS_MAX: usize = 100;

/// Asks for a refund of every order, evenly over the window.
pub async fn load(scene: &Scene, orders: &[String], window: Window) {
    let count = u32::try_from(orders.len()).unwrap_or(u32::MAX);
    let asks = orders.iter().zip(0..count).map(|(order, number)| async move {
        sleep_until(window.began() + window.span() * number / count).await;
        let large = number as usize % LARGE_EVERY == 3;
        let run = submit(&scene.caller, order, if large { LARGE_CENTS } else { SMALL_CENTS }).await;
        let id: RunId = run.parse().expect("a run id");
        scene.submitted().insert(id, Submitted { order: order.clone(), over: None });
        if number as usize % CANCELLED_EVERY == 7 {
            cancel(scene, &run).await;
        }
    });
    stream::iter(asks).buffer_unordered(CLIENTS).collect::<()>().await;
}

async fn cancel(scene: &Scene, run: &str) {
    let (path, reason) = (format!("/runs/{run}/cancel"), json!({ "reason": "the customer called" }));
    let token = &scene.caller.address.tokens.submitter;
    for _ in 0..CANCELS_MAX {
        let answer = scene.caller.try_send("POST", &path, token, None, Some(&reason)).await;
        // A conflict says that the run was over before.
        if answer.is_some_and(|answer| answer.status < 500) {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
    panic!("{run} could not be cancelled")
}

/// Looks at every open run until so many are over, and answers what they ask.
pub async fn attend(scene: &Scene, runs: usize) {
    loop {
        let open: Vec<RunId> = {
            let submitted = scene.submitted();
            let over = submitted.values().filter(|one| one.over.is_some()).count();
            if over == runs {
                return;
            }
            submitted.iter().filter(|(_, one)| one.over.is_none()).map(|(run, _)| *run).collect()
        };
        stream::iter(open).for_each_concurrent(CLIENTS, |run| look_at(scene, run)).await;
        sleep(LOOK_EVERY).await;
    }
}

async fn look_at(scene: &Scene, run: RunId) {
    // The store may be down at the moment.
    let Ok(Some(head)) = scene.runs.head(run).await else { return };
    if head.status == HeadStatus::AwaitingApproval {
        let path = format!("/runs/{run}");
        let shown = scene.caller.try_send("GET", &path, &scene.caller.address.tokens.operator, None, None).await;
        if let Some(shown) = shown {
            answer(&scene.caller, &shown.body).await;
        }
    }
    if head.status.is_over()
        && let Some(one) = scene.submitted().get_mut(&run)
    {
        one.over = Some(head.status.word().to_owned());
    }
}

/// Runs the sweep as its schedule does.
pub async fn sweep_every_minute(scene: &Scene) {
    let mut next = scene.began + FIRST_SWEEP_AFTER;
    loop {
        sleep_until(next).await;
        next += Job::RescueRuns.every();
        let event = json!({ "job": Job::RescueRuns.name(), "scheduled_for": SystemClock.now() });
        // One that hangs does not hold up the next.
        let _ = timeout(SWEEP_WITHIN, sweep(scene, &event)).await;
    }
}

async fn sweep(scene: &Scene, event: &Value) {
    for _ in 0..SWEEP_TRIES_MAX {
        let swept = scene.caller.invoke("cleanup:live", event).await.is_some();
        scene.blown().sweeps[0] += 1;
        scene.blown().sweeps[1] += usize::from(!swept);
        if swept {
            return;
        }
        sleep(SWEEP_AGAIN_AFTER).await;
    }
}
