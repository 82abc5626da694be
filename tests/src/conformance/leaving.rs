//! Giving leases back.

use std::time::Duration;

use windlass::{
    clock::CLOCK_SKEW_MAX,
    journal::{Expected, HeadStatus, Lease},
    lease::{LEASE_FOR, Leave, Left},
};

use super::{SECOND, Stores, dead, finished};

pub async fn a_run_is_left_as_wanted(stores: &Stores) {
    let run = stores.run("k").await;
    let before = stores.head(run).await;
    let lease = stores.won(run, "a").await;
    let leave = Leave {
        status: HeadStatus::Waiting,
        ready_from: Some(stores.now() + 10 * SECOND),
        due: Some(stores.now() + 20 * SECOND),
        now: stores.now(),
        interjections: 0,
        strikes: 0,
    };
    assert_eq!(stores.leave(run, &lease, &leave).await, Left::Done);
    let expected = windlass::journal::Head {
        status: HeadStatus::Waiting,
        ready_from: leave.ready_from,
        due: leave.due,
        epoch: 1,
        strikes: 0,
        ..before
    };
    assert_eq!(stores.head(run).await, expected);
}

pub async fn every_status_is_kept_with_what_it_says(stores: &Stores) {
    let statuses = [
        HeadStatus::Ready,
        HeadStatus::Waiting,
        HeadStatus::AwaitingApproval,
        HeadStatus::Held { reason: "the model is switched off".to_owned() },
        HeadStatus::Unreadable { problem: "entry 3".to_owned() },
        finished(),
        dead(),
    ];
    for (n, status) in statuses.into_iter().enumerate() {
        let run = stores.run(&format!("k{n}")).await;
        stores.left(run, status.clone()).await;
        assert_eq!(stores.head(run).await.status, status);
    }
}

pub async fn a_run_that_is_over_is_neither_ready_nor_due(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, finished()).await;
    let head = stores.head(run).await;
    assert_eq!((head.ready_from, head.due, head.lease), (None, None, None));
}

pub async fn a_later_leave_says_nothing_of_an_earlier_one(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    let unreadable = HeadStatus::Unreadable { problem: "entry 3".to_owned() };
    stores.leave(run, &lease, &stores.leaving(unreadable, SECOND)).await;
    stores.clock.advance(SECOND);
    stores.left(run, HeadStatus::Waiting).await;
    assert_eq!(stores.head(run).await.status, HeadStatus::Waiting);
    stores.clock.advance(3600 * SECOND);
    stores.left(run, dead()).await;
    assert_eq!(stores.head(run).await.status, dead());
}

pub async fn a_repeated_leave_whose_answer_was_lost_is_done(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    let leave = stores.leaving(HeadStatus::Waiting, SECOND);
    assert_eq!(stores.leave(run, &lease, &leave).await, Left::Done);
    assert_eq!(stores.leave(run, &lease, &leave).await, Left::Done);
    assert_eq!(stores.head(run).await.epoch, 1);
}

pub async fn a_leave_repeated_after_an_interjection_is_done_and_undoes_nothing(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    let leave = stores.leaving(HeadStatus::Waiting, 3600 * SECOND);
    assert_eq!(stores.leave(run, &lease, &leave).await, Left::Done);
    stores.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    assert_eq!(stores.leave(run, &lease, &leave).await, Left::Done);
    assert_eq!(stores.head(run).await.status, HeadStatus::Ready);
}

pub async fn a_holder_that_missed_an_interjection_stays(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    stores.interject(run, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    let leave = stores.leaving(finished(), SECOND);
    assert_eq!(stores.leave(run, &lease, &leave).await, Left::Interjected { interjections: 1 });
    assert_eq!(stores.head(run).await.lease, Some(lease.clone()));
    assert_eq!(stores.leave(run, &lease, &Leave { interjections: 1, ..leave }).await, Left::Done);
    assert_eq!(stores.head(run).await.status, finished());
}

pub async fn a_holder_that_was_overtaken_has_lost(stores: &Stores) {
    let run = stores.run("k").await;
    let lost = stores.won(run, "a").await;
    stores.clock.advance(LEASE_FOR + CLOCK_SKEW_MAX);
    let held = stores.won(run, "b").await;
    assert_eq!(stores.leave(run, &lost, &stores.leaving(finished(), SECOND)).await, Left::Lost);
    assert_eq!(stores.head(run).await.lease, Some(held.clone()));
    stores.leave(run, &held, &stores.leaving(HeadStatus::Ready, SECOND)).await;
    assert_eq!(stores.leave(run, &lost, &stores.leaving(finished(), SECOND)).await, Left::Lost);
    assert_eq!(stores.head(run).await.status, HeadStatus::Ready);
}

pub async fn a_holder_that_claims_again_has_lost_its_first_lease(stores: &Stores) {
    let run = stores.run("k").await;
    let lost = stores.won(run, "a").await;
    stores.clock.advance(LEASE_FOR + CLOCK_SKEW_MAX);
    let held = stores.won(run, "a").await;
    assert_eq!((lost.epoch, held.epoch), (1, 2));
    assert_eq!(stores.leases.renew(run, &lost, stores.now() + LEASE_FOR).await, Ok(None));
    assert_eq!(stores.leave(run, &lost, &stores.leaving(finished(), SECOND)).await, Left::Lost);
    assert_eq!(stores.head(run).await.lease, Some(held));
}

pub async fn a_renewed_lease_is_given_back(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    stores.leases.renew(run, &lease, lease.until + LEASE_FOR).await.expect("the store answers");
    assert_eq!(stores.leave(run, &lease, &stores.leaving(finished(), SECOND)).await, Left::Done);
}

pub async fn a_lease_that_is_over_but_not_taken_over_is_given_back(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    stores.clock.advance(LEASE_FOR + LEASE_FOR);
    assert_eq!(stores.leave(run, &lease, &stores.leaving(finished(), SECOND)).await, Left::Done);
}

pub async fn nobody_cannot_be_left(stores: &Stores) {
    let lease = Lease { epoch: 1, holder: "a".to_owned(), until: stores.now() };
    let run = stores.new_run("k").run;
    assert_eq!(stores.leave(run, &lease, &stores.leaving(finished(), SECOND)).await, Left::Lost);
    assert_eq!(stores.heads.head(run).await, Ok(None));
}

pub async fn a_claim_that_came_to_nothing_is_left_with_its_strikes(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    let leave = Leave { strikes: 1, ..stores.leaving(HeadStatus::Ready, Duration::ZERO) };
    assert_eq!(stores.leave(run, &lease, &leave).await, Left::Done);
    assert_eq!(stores.head(run).await.strikes, 1);
    stores.won(run, "b").await;
    assert_eq!(stores.head(run).await.strikes, 2);
}
