//! Appending from outside the loop.

use windlass::{
    journal::{Expected, HeadStatus, Interjected, JournalError, Listing, RESCUE_AFTER},
    lease::Claim,
};

use super::{KEPT_FOR, SECOND, Stores, dead, finished, noise};

pub async fn an_interjection_appends_and_makes_the_run_ready(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, HeadStatus::Waiting).await;
    stores.clock.advance(10 * SECOND);
    let entry = stores.cancelled("m");
    assert_eq!(stores.interject(run, 2, &entry, Expected::Unfinished).await, Interjected::Written);
    let head = stores.head(run).await;
    assert_eq!(
        (head.status, head.ready_from, head.due),
        (HeadStatus::Ready, Some(entry.at), Some(entry.at + RESCUE_AFTER))
    );
    assert_eq!((head.interjections, head.strikes, head.lease), (1, 0, None));
    assert_eq!(stores.journal.load(run, 2).await, Ok(vec![entry]));
}

pub async fn an_interjection_forgives_strikes_and_keeps_the_lease(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    assert_eq!(stores.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await, Interjected::Written);
    let head = stores.head(run).await;
    assert_eq!((head.strikes, head.lease.as_ref()), (0, Some(&lease)));
    assert_eq!(stores.claim(run, "b").await, Claim::Held { until: lease.until });
}

pub async fn a_repeated_interjection_whose_answer_was_lost_counts_once(stores: &Stores) {
    let run = stores.run("k").await;
    let entry = stores.cancelled("m");
    for _ in 0..2 {
        assert_eq!(stores.interject(run, 2, &entry, Expected::Unfinished).await, Interjected::Written);
    }
    assert_eq!(stores.head(run).await.interjections, 1);
}

pub async fn an_interjection_repeated_when_the_run_is_over_was_written(stores: &Stores) {
    let run = stores.run("k").await;
    let entry = stores.cancelled("m");
    assert_eq!(stores.interject(run, 2, &entry, Expected::Unfinished).await, Interjected::Written);
    let lease = stores.won(run, "a").await;
    let leave = windlass::lease::Leave { interjections: 1, ..stores.leaving(finished(), SECOND) };
    stores.leave(run, &lease, &leave).await;
    assert_eq!(stores.interject(run, 2, &entry, Expected::Unfinished).await, Interjected::Written);
    assert_eq!(stores.head(run).await.status, finished());
}

pub async fn two_people_interject_at_one_place_and_one_is_written(stores: &Stores) {
    let run = stores.run("k").await;
    let (one, other) = (stores.cancelled("one"), stores.cancelled("other"));
    let answers = [
        stores.interject(run, 2, &one, Expected::Unfinished).await,
        stores.interject(run, 2, &other, Expected::Unfinished).await,
    ];
    assert_eq!(answers, [Interjected::Written, Interjected::Taken]);
    assert_eq!(stores.interject(run, 3, &other, Expected::Unfinished).await, Interjected::Written);
    assert_eq!(stores.head(run).await.interjections, 2);
}

pub async fn a_taken_place_leaves_the_head_as_it_is(stores: &Stores) {
    let run = stores.run("k").await;
    stores.append(run, 2, &stores.said(1, "mine")).await;
    let before = stores.head(run).await;
    stores.clock.advance(SECOND);
    let answer = stores.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    assert_eq!(answer, Interjected::Taken);
    assert_eq!(stores.head(run).await, before);
}

pub async fn a_run_that_is_over_cannot_be_interjected(stores: &Stores) {
    for (key, status) in [("finished", finished()), ("dead", dead())] {
        let run = stores.run(key).await;
        stores.left(run, status).await;
        let before = stores.head(run).await;
        let answer = stores.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await;
        assert_eq!(answer, Interjected::Unexpected);
        assert_eq!(stores.head(run).await, before);
        assert_eq!(stores.load(run).await.len(), 1);
    }
}

pub async fn a_dead_run_is_replayed(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, dead()).await;
    assert_eq!(stores.interject(run, 2, &stores.cancelled("m"), Expected::Dead).await, Interjected::Written);
    assert_eq!(stores.head(run).await.status, HeadStatus::Ready);
    assert_eq!(stores.heads.list(&Listing::Troubled, 10).await, Ok(vec![]));
    assert_eq!(stores.won(run, "a").await.epoch, 2);
}

pub async fn only_a_dead_run_is_replayed(stores: &Stores) {
    let (ready, over) = (stores.run("ready").await, stores.run("over").await);
    stores.left(over, finished()).await;
    for run in [ready, over] {
        let answer = stores.interject(run, 2, &stores.cancelled("m"), Expected::Dead).await;
        assert_eq!(answer, Interjected::Unexpected);
    }
}

pub async fn an_unexpected_head_counts_before_a_taken_place(stores: &Stores) {
    let run = stores.run("k").await;
    stores.append(run, 2, &stores.said(1, "mine")).await;
    stores.left(run, finished()).await;
    let answer = stores.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    assert_eq!(answer, Interjected::Unexpected);
}

pub async fn nobody_cannot_be_interjected(stores: &Stores) {
    let run = stores.new_run("k").run;
    let answer = stores.journal.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    assert_eq!(answer, Err(JournalError::Missing { run }));
}

pub async fn an_expired_run_cannot_be_interjected(stores: &Stores) {
    let run = stores.run("k").await;
    stores.clock.advance(KEPT_FOR + SECOND);
    let answer = stores.journal.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    assert_eq!(answer, Err(JournalError::Missing { run }));
}

pub async fn an_interjection_that_does_not_fit_changes_nothing(stores: &Stores) {
    let run = stores.run("k").await;
    let before = stores.head(run).await;
    let answer = stores.journal.interject(run, 2, &stores.said(1, noise(700 * 1024)), Expected::Unfinished).await;
    assert!(matches!(answer, Err(JournalError::TooLarge(_))), "{answer:?}");
    assert_eq!(stores.head(run).await, before);
}

pub async fn an_interjected_entry_expires_with_its_run(stores: &Stores) {
    let run = stores.run("k").await;
    stores.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    stores.clock.advance(KEPT_FOR);
    assert_eq!(stores.load(run).await.len(), 2);
    stores.clock.advance(SECOND);
    assert_eq!(stores.load(run).await, []);
}
