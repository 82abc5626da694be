//! Finding runs that are due.

use windlass::{
    clock::Timestamp,
    ids::{RunId, Tenant},
    journal::{DUE_SHARDS, Due, DueQueue, HeadStatus, Postponed, RESCUE_AFTER, due_shard},
};

use super::{BEGINNING, KEPT_FOR, SECOND, Stores, finished};

/// What a sweep is told of a run that nobody has claimed.
fn postponed() -> Postponed {
    Postponed { tenant: acme(), strikes: 0 }
}

/// Whose the runs of these cases are.
fn acme() -> Tenant {
    "acme".parse().expect("a tenant")
}

impl Stores {
    async fn due(&self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        for queue in DueQueue::ALL {
            due.extend(self.due_in(queue, now).await);
        }
        due
    }

    async fn due_in(&self, queue: DueQueue, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        for shard in 0..DUE_SHARDS {
            due.extend(self.heads.due(queue, shard, now, None, 100).await.expect("the store answers"));
        }
        due
    }

    async fn run_in_shard(&self, shard: u8, key: &str) -> RunId {
        let new = (0..1_000).map(|_| self.new_run(key)).find(|new| due_shard(new.run) == shard);
        self.take_on(new.expect("one in four is in the shard")).await
    }
}

pub async fn a_run_that_nobody_works_on_is_due_after_the_rescue_time(stores: &Stores) {
    let run = stores.run("k").await;
    let due = stores.now() + RESCUE_AFTER;
    assert_eq!(stores.due(due - SECOND).await, []);
    assert_eq!(stores.due(due).await, [Due { run, due }]);
}

pub async fn the_longest_due_come_first_and_not_more_than_asked(stores: &Stores) {
    let mut runs = Vec::new();
    for key in ["1", "2", "3"] {
        runs.push(stores.run_in_shard(1, key).await);
        stores.clock.advance(SECOND);
    }
    let due =
        stores.heads.due(DueQueue::Repair, 1, stores.now() + RESCUE_AFTER, None, 2).await.expect("the store answers");
    assert_eq!(due.iter().map(|due| due.run).collect::<Vec<_>>(), runs[..2]);
    let rest = stores.heads.due(DueQueue::Repair, 1, stores.now() + RESCUE_AFTER, due.last().copied(), 2).await;
    assert_eq!(rest.expect("the store answers").into_iter().map(|due| due.run).collect::<Vec<_>>(), runs[2..]);
}

pub async fn each_run_is_due_in_its_shard_only(stores: &Stores) {
    let run = stores.run_in_shard(2, "k").await;
    let now = stores.now() + RESCUE_AFTER;
    for shard in 0..DUE_SHARDS {
        let due = stores.heads.due(DueQueue::Repair, shard, now, None, 10).await.expect("the store answers");
        assert_eq!(due.iter().any(|due| due.run == run), shard == 2);
    }
}

pub async fn a_run_that_is_over_is_never_due(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, finished()).await;
    assert_eq!(stores.due(stores.now() + KEPT_FOR).await, []);
}

pub async fn a_run_that_waits_is_due_when_it_said(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, HeadStatus::Waiting).await;
    let due = stores.now() + 3600 * SECOND;
    assert_eq!(stores.due(due - SECOND).await, []);
    assert_eq!(stores.due(due).await, [Due { run, due }]);
}

pub async fn a_postponed_run_is_due_later(stores: &Stores) {
    let run = stores.run("k").await;
    let seen = stores.now() + RESCUE_AFTER;
    assert_eq!(stores.heads.postpone_due(run, seen, seen + 60 * SECOND).await, Ok(Some(postponed())));
    assert_eq!(stores.due(seen).await, []);
    assert_eq!(stores.due(seen + 60 * SECOND).await, [Due { run, due: seen + 60 * SECOND }]);
}

pub async fn whoever_postpones_a_run_is_told_how_often_it_was_claimed_in_vain(stores: &Stores) {
    let run = stores.run("k").await;
    stores.claim(run, "a").await;
    let seen = stores.now() + RESCUE_AFTER;
    let postponed = Postponed { strikes: 1, ..postponed() };
    assert_eq!(stores.heads.postpone_due(run, seen, seen + 60 * SECOND).await, Ok(Some(postponed)));
}

pub async fn of_two_that_postpone_one_due_time_one_moves_it(stores: &Stores) {
    let run = stores.run("k").await;
    let seen = stores.now() + RESCUE_AFTER;
    assert_eq!(stores.heads.postpone_due(run, seen, seen + 60 * SECOND).await, Ok(Some(postponed())));
    assert_eq!(stores.heads.postpone_due(run, seen, seen + 90 * SECOND).await, Ok(None));
    assert_eq!(stores.head(run).await.due, Some(seen + 60 * SECOND));
}

pub async fn what_is_not_due_is_not_postponed(stores: &Stores) {
    let (nobody, over) = (stores.new_run("nobody").run, stores.run("over").await);
    stores.left(over, finished()).await;
    let seen = stores.now() + RESCUE_AFTER;
    for run in [nobody, over] {
        assert_eq!(stores.heads.postpone_due(run, seen, seen + SECOND).await, Ok(None));
    }
    assert_eq!(stores.head(over).await.due, None);
    assert_eq!(stores.heads.head(nobody).await, Ok(None));
}

pub async fn an_expired_run_is_never_due(stores: &Stores) {
    stores.run("k").await;
    assert_eq!(stores.due(BEGINNING + KEPT_FOR).await.len(), 1);
    assert_eq!(stores.due(BEGINNING + KEPT_FOR + SECOND).await, []);
}

pub async fn an_expired_run_hides_no_other_that_is_due(stores: &Stores) {
    let old = stores.run_in_shard(0, "old").await;
    stores.clock.advance(SECOND);
    let young = stores.run_in_shard(0, "young").await;
    let due =
        stores.heads.due(DueQueue::Repair, 0, BEGINNING + KEPT_FOR + SECOND, None, 1).await.expect("the store answers");
    assert_ne!(old, young);
    assert_eq!(due.into_iter().map(|due| due.run).collect::<Vec<_>>(), [young]);
}

pub async fn an_expired_head_is_never_read(stores: &Stores) {
    let run = stores.run("k").await;
    stores.clock.advance(KEPT_FOR);
    assert!(stores.heads.head(run).await.expect("the store answers").is_some());
    stores.clock.advance(SECOND);
    assert_eq!(stores.heads.head(run).await, Ok(None));
}

pub async fn a_run_is_in_the_queue_of_what_it_is_due_for(stores: &Stores) {
    let far = BEGINNING + KEPT_FOR;
    let queue = async || {
        let [repair, timer] = [stores.due_in(DueQueue::Repair, far).await, stores.due_in(DueQueue::Timer, far).await];
        (repair.len(), timer.len())
    };
    let run = stores.run("k").await;
    assert_eq!(queue().await, (1, 0), "nobody has claimed it yet");
    stores.left(run, HeadStatus::Waiting).await;
    assert_eq!(queue().await, (0, 1), "it waits");
    let seen = stores.due(far).await[0].due;
    stores.heads.postpone_due(run, seen, seen + SECOND).await.expect("the store answers").expect("it is as seen");
    assert_eq!(queue().await, (1, 0), "it is about to be woken");
}
