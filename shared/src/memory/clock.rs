//! A clock that stands still until it is told otherwise.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;

use super::locked;
use crate::clock::{Clock, Timestamp};

/// A clock that tests set. Whoever sleeps on it wakes when it is moved far enough, under any executor.
#[derive(Debug)]
pub struct ManualClock {
    face: Mutex<Face>,
}

#[derive(Debug)]
struct Face {
    now: Timestamp,
    sleepers: BTreeMap<u64, Sleeper>,
    next_id: u64,
}

#[derive(Debug)]
struct Sleeper {
    until: Timestamp,
    waker: Waker,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { face: Mutex::new(Face { now, sleepers: BTreeMap::new(), next_id: 0 }) }
    }

    /// Moves it to `now`, also backwards, and wakes whoever has slept until then.
    pub fn set(&self, now: Timestamp) {
        self.move_to(|_| now);
    }

    /// Moves it on by `span`.
    pub fn advance(&self, span: Duration) {
        self.move_to(|now| now + span);
    }

    /// When the first of those who sleep wants to be woken: how far a simulation can move on when nothing else happens. Whoever has been
    /// woken and does not go on holds up nobody.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let face = locked(&self.face);
        face.sleepers.values().map(|sleeper| sleeper.until).filter(|until| *until > face.now).min()
    }

    fn move_to(&self, target: impl FnOnce(Timestamp) -> Timestamp) {
        let mut face = locked(&self.face);
        face.now = target(face.now);
        let now = face.now;
        let wakers: Vec<Waker> = face
            .sleepers
            .values()
            .filter(|sleeper| sleeper.until <= now)
            .map(|sleeper| sleeper.waker.clone())
            .collect();
        // A waker may poll at once, and the poll locks the face.
        drop(face);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        locked(&self.face).now
    }

    async fn sleep_until(&self, until: Timestamp) {
        Sleep { clock: self, until, id: None }.await;
    }
}

struct Sleep<'a> {
    clock: &'a ManualClock,
    until: Timestamp,
    id: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut face = locked(&self.clock.face);
        if face.now >= self.until {
            return Poll::Ready(());
        }
        let id = self.id.unwrap_or(face.next_id);
        face.next_id = face.next_id.max(id + 1);
        face.sleepers.insert(id, Sleeper { until: self.until, waker: context.waker().clone() });
        drop(face);
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            locked(&self.clock.face).sleepers.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, task::noop_waker};
    use std::sync::Arc;

    #[test]
    fn a_sleeper_polled_by_hand_is_done_once_the_clock_has_moved_far_enough() {
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        let mut sleep = clock.sleep_until(Timestamp::from_millis(3_000));
        assert!(sleep.poll_unpin(&mut context).is_pending());
        assert_eq!(clock.next_wake(), Some(Timestamp::from_millis(3_000)));
        clock.advance(Duration::from_millis(1_999));
        assert!(sleep.poll_unpin(&mut context).is_pending());
        clock.advance(Duration::from_millis(1));
        assert!(sleep.poll_unpin(&mut context).is_ready());
        drop(sleep);
        assert_eq!(clock.next_wake(), None);
    }

    #[tokio::test]
    async fn a_sleeping_task_is_woken_when_the_clock_is_set() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp::from_millis(50)).await }
        });
        while clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
        clock.set(Timestamp::from_millis(50));
        sleeper.await.expect("it wakes");
    }
}
