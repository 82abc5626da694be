//! Claiming runs, and renewing leases.

use futures::future::join_all;
use windlass::{
    clock::CLOCK_SKEW_MAX,
    journal::{HeadStatus, Lease},
    lease::{Claim, LEASE_FOR},
};

use super::{KEPT_FOR, SECOND, Stores, dead, finished};

pub async fn a_claim_wins_a_ready_run_with_its_head(stores: &Stores) {
    let run = stores.run("k").await;
    let before = stores.head(run).await;
    let Claim::Won(head, lease) = stores.claim(run, "a").await else { panic!("not won") };
    assert_eq!(lease, Lease { epoch: 1, holder: "a".to_owned(), until: stores.now() + LEASE_FOR });
    assert_eq!(*head, windlass::journal::Head { epoch: 1, strikes: 1, lease: Some(lease), ..before });
    assert_eq!(stores.head(run).await, *head);
}

pub async fn a_claim_leaves_the_due_time_where_it_was(stores: &Stores) {
    let run = stores.run("k").await;
    let due = stores.head(run).await.due;
    stores.clock.advance(SECOND);
    stores.won(run, "a").await;
    assert_eq!(stores.head(run).await.due, due);
}

pub async fn a_run_that_somebody_holds_is_held_until_the_lease_ends(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    stores.clock.advance(10 * SECOND);
    assert_eq!(stores.claim(run, "b").await, Claim::Held { until: lease.until });
    let head = stores.head(run).await;
    assert_eq!((head.epoch, head.strikes), (1, 1));
}

pub async fn a_repeated_claim_whose_answer_was_lost_wins_the_same_lease(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    stores.clock.advance(SECOND);
    assert_eq!(stores.won(run, "a").await, lease);
    let head = stores.head(run).await;
    assert_eq!((head.epoch, head.strikes), (1, 1));
}

pub async fn a_lease_is_taken_over_only_when_it_is_over_by_every_clock(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    stores.clock.set(lease.until + CLOCK_SKEW_MAX - std::time::Duration::from_millis(1));
    assert_eq!(stores.claim(run, "b").await, Claim::Held { until: lease.until });
    stores.clock.set(lease.until + CLOCK_SKEW_MAX);
    assert_eq!(stores.won(run, "b").await.epoch, 2);
}

pub async fn strikes_rise_with_each_claim_that_is_not_left(stores: &Stores) {
    let run = stores.run("k").await;
    for strikes in 1..=3 {
        let holder = format!("holder {strikes}");
        stores.won(run, &holder).await;
        assert_eq!(stores.head(run).await.strikes, strikes);
        stores.clock.advance(LEASE_FOR + CLOCK_SKEW_MAX);
    }
}

pub async fn a_parked_run_is_parked_until_it_is_ready(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, HeadStatus::Waiting).await;
    let until = stores.now() + 3600 * SECOND;
    assert_eq!(stores.claim(run, "b").await, Claim::Parked { until });
    stores.clock.set(until);
    assert_eq!(stores.won(run, "b").await.epoch, 2);
}

pub async fn a_run_that_is_over_says_how_it_ended(stores: &Stores) {
    for (key, status) in [("finished", finished()), ("dead", dead())] {
        let run = stores.run(key).await;
        stores.left(run, status.clone()).await;
        assert_eq!(stores.claim(run, "b").await, Claim::Over(status));
    }
}

pub async fn a_claim_on_nobody_finds_nothing(stores: &Stores) {
    let run = stores.new_run("k").run;
    assert_eq!(stores.claim(run, "a").await, Claim::Missing);
    assert_eq!(stores.heads.head(run).await, Ok(None));
}

pub async fn an_expired_run_is_never_claimed(stores: &Stores) {
    let run = stores.run("k").await;
    stores.clock.advance(KEPT_FOR + SECOND);
    assert_eq!(stores.claim(run, "a").await, Claim::Missing);
    stores.clock.set(super::BEGINNING);
    assert_eq!(stores.head(run).await.epoch, 0);
}

pub async fn of_many_claimants_one_wins(stores: &Stores) {
    let run = stores.run("k").await;
    let holders: Vec<String> = (0..16).map(|n| format!("holder {n}")).collect();
    let claims = join_all(holders.iter().map(|holder| stores.claim(run, holder))).await;
    assert_eq!(claims.iter().filter(|claim| matches!(claim, Claim::Won(..))).count(), 1);
    assert_eq!(claims.iter().filter(|claim| matches!(claim, Claim::Held { .. })).count(), 15);
}

pub async fn a_renewed_lease_holds_longer_and_is_due_when_it_ends(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    let until = lease.until + 300 * SECOND;
    let renewed = stores.leases.renew(run, &lease, until).await.expect("the store answers");
    assert_eq!(renewed, Some(Lease { until, ..lease.clone() }));
    let head = stores.head(run).await;
    assert_eq!((head.due, head.epoch, head.strikes), (Some(until), 1, 1));
    stores.clock.set(lease.until + 60 * SECOND);
    assert_eq!(stores.claim(run, "b").await, Claim::Held { until });
}

pub async fn a_lease_that_was_taken_over_is_not_renewed(stores: &Stores) {
    let run = stores.run("k").await;
    let lost = stores.won(run, "a").await;
    stores.clock.advance(LEASE_FOR + CLOCK_SKEW_MAX);
    let held = stores.won(run, "b").await;
    assert_eq!(stores.leases.renew(run, &lost, stores.now() + LEASE_FOR).await, Ok(None));
    assert_eq!(stores.head(run).await.lease, Some(held));
}

pub async fn a_lease_that_was_given_back_is_not_renewed(stores: &Stores) {
    let run = stores.run("k").await;
    let lease = stores.won(run, "a").await;
    stores.leave(run, &lease, &stores.leaving(finished(), SECOND)).await;
    assert_eq!(stores.leases.renew(run, &lease, stores.now() + LEASE_FOR).await, Ok(None));
    assert_eq!(stores.head(run).await.due, None);
}

pub async fn a_lease_on_nobody_is_not_renewed(stores: &Stores) {
    let lease = Lease { epoch: 1, holder: "a".to_owned(), until: stores.now() };
    let run = stores.new_run("k").run;
    assert_eq!(stores.leases.renew(run, &lease, stores.now() + LEASE_FOR).await, Ok(None));
    assert_eq!(stores.heads.head(run).await, Ok(None));
}
