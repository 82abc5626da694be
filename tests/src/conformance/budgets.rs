//! Accounts of actors and days.

use std::time::Duration;

use futures::future::join_all;
use windlass::{
    budgets::{Account, Allowance, Reservation, Reserved, Spend},
    clock::CLOCK_SKEW_MAX,
};

use super::Stores;

const ALLOWANCE: Allowance = Allowance { micro_usd: 100, tokens: 1_000 };

const fn spend(micro_usd: u64, tokens: u64) -> Spend {
    Spend { micro_usd, tokens }
}

impl Stores {
    fn reservation(&self, id: &str, worst: Spend) -> Reservation {
        let (tenant, actor) = ("acme".parse().expect("a tenant"), "ada".parse().expect("an actor"));
        let account = Account::at(self.now(), &tenant, &actor);
        Reservation { account, id: id.to_owned(), worst, deadline: self.now() + Duration::from_secs(60) }
    }

    async fn reserves(&self, reservation: &Reservation) -> Reserved {
        self.budgets.reserve(reservation, ALLOWANCE, self.now()).await.expect("the store answers")
    }
}

pub async fn what_is_reserved_counts_until_it_is_settled(stores: &Stores) {
    let (first, second) = (stores.reservation("1", spend(60, 10)), stores.reservation("2", spend(60, 10)));
    assert_eq!(stores.reserves(&first).await, Reserved::Done);
    assert_eq!(stores.reserves(&second).await, Reserved::Busy);
    assert_eq!(stores.budgets.settle(&first, spend(30, 4)).await, Ok(true));
    assert_eq!(stores.reserves(&second).await, Reserved::Done);
    let balance = stores.budgets.balance(&first.account).await.expect("the store answers");
    assert_eq!((balance.settled, balance.reserved), (spend(30, 4), spend(60, 10)));
}

pub async fn a_repeated_reservation_or_settlement_whose_answer_was_lost_counts_once(stores: &Stores) {
    let reservation = stores.reservation("1", spend(60, 10));
    for _ in 0..2 {
        assert_eq!(stores.reserves(&reservation).await, Reserved::Done);
    }
    assert_eq!(stores.budgets.settle(&reservation, spend(50, 9)).await, Ok(true));
    assert_eq!(stores.budgets.settle(&reservation, spend(50, 9)).await, Ok(false));
    let balance = stores.budgets.balance(&reservation.account).await.expect("the store answers");
    assert_eq!((balance.settled, balance.reserved), (spend(50, 9), spend(0, 0)));
}

pub async fn a_budget_that_is_used_up_is_exhausted_and_the_next_day_is_not(stores: &Stores) {
    let first = stores.reservation("1", spend(100, 10));
    assert_eq!(stores.reserves(&first).await, Reserved::Done);
    stores.budgets.settle(&first, spend(100, 10)).await.expect("the store answers");
    assert_eq!(stores.reserves(&stores.reservation("2", spend(1, 1))).await, Reserved::Exhausted);
    stores.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(stores.reserves(&stores.reservation("3", spend(1, 1))).await, Reserved::Done);
}

pub async fn what_never_fits_is_exhausted(stores: &Stores) {
    assert_eq!(stores.reserves(&stores.reservation("1", spend(101, 1))).await, Reserved::Exhausted);
    assert_eq!(stores.reserves(&stores.reservation("1", spend(1, 1_001))).await, Reserved::Exhausted);
}

pub async fn of_many_at_once_no_more_than_fit_are_reserved(stores: &Stores) {
    let wanted: Vec<Reservation> = (0..16).map(|n| stores.reservation(&n.to_string(), spend(20, 1))).collect();
    let reserved = join_all(wanted.iter().map(|one| stores.reserves(one))).await;
    assert_eq!(reserved.iter().filter(|reserved| **reserved == Reserved::Done).count(), 5);
}

pub async fn a_reservation_of_a_dead_process_is_settled_at_its_worst_by_who_is_refused(stores: &Stores) {
    let dead = stores.reservation("dead", spend(90, 10));
    assert_eq!(stores.reserves(&dead).await, Reserved::Done);
    stores.clock.advance(Duration::from_secs(60) + CLOCK_SKEW_MAX);
    assert_eq!(stores.reserves(&stores.reservation("2", spend(20, 1))).await, Reserved::Exhausted);
    assert_eq!(stores.reserves(&stores.reservation("3", spend(10, 1))).await, Reserved::Done);
    assert_eq!(stores.budgets.settle(&dead, spend(1, 1)).await, Ok(false), "it comes back too late");
    let balance = stores.budgets.balance(&dead.account).await.expect("the store answers");
    assert_eq!((balance.settled, balance.reserved), (spend(90, 10), spend(10, 1)));
}

pub async fn accounts_of_tenants_and_actors_do_not_mix(stores: &Stores) {
    let one = stores.reservation("1", spend(100, 10));
    assert_eq!(stores.reserves(&one).await, Reserved::Done);
    for (tenant, actor) in [("acme", "bob"), ("other", "ada")] {
        let account = Account::at(stores.now(), &tenant.parse().expect("a tenant"), &actor.parse().expect("an actor"));
        let other = Reservation { account, ..one.clone() };
        assert_eq!(stores.reserves(&other).await, Reserved::Done);
    }
}

pub async fn many_open_reservations_of_one_actor_are_kept_and_settled_each_once(stores: &Stores) {
    let many: Vec<Reservation> = (0..60).map(|n| stores.reservation(&format!("many-{n}"), spend(1, 1))).collect();
    let reserved = join_all(many.iter().map(|one| stores.reserves(one))).await;
    assert!(reserved.iter().all(|reserved| *reserved == Reserved::Done));
    let account = &many[0].account;
    let balance = stores.budgets.balance(account).await.expect("the store answers");
    assert_eq!((balance.settled, balance.reserved), (spend(0, 0), spend(60, 60)));
    for _ in 0..2 {
        let settled = join_all(many.iter().map(|one| stores.budgets.settle(one, spend(1, 0)))).await;
        assert!(settled.iter().all(Result::is_ok));
    }
    let balance = stores.budgets.balance(account).await.expect("the store answers");
    assert_eq!((balance.settled, balance.reserved), (spend(60, 0), spend(0, 0)));
}
