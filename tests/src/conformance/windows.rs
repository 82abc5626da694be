//! Counters of windows.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use windlass::{
    clock::CLOCK_SKEW_MAX,
    run::request::RunRequest,
    windows::{Became, CountReservation, CountReserved, OPEN_MAX, Window},
};

use super::Stores;

const PER_ORDER: &str = "refunded = sum(refund, /cents) per /order per day";

impl Stores {
    fn count(&self, window: &str, tenant: &str, order: &str, id: &str, cents: u64) -> CountReservation {
        let request = RunRequest {
            tenant: tenant.parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: json!({}),
            roles: Default::default(),
        };
        let window: Window = window.parse().expect("a window");
        let counted = window.counted(&request, &json!({ "order": order, "cents": cents }), self.now());
        CountReservation { counted, id: id.to_owned(), deadline: self.now() + Duration::from_secs(60) }
    }

    fn refund(&self, id: &str, cents: u64) -> CountReservation {
        self.count(PER_ORDER, "acme", "A-1", id, cents)
    }

    async fn counts(&self, reservation: &CountReservation, seen: u128) -> CountReserved {
        self.windows.reserve(reservation, seen, self.now()).await.expect("the store answers")
    }

    async fn total(&self, reservation: &CountReservation) -> u128 {
        self.windows.total(&reservation.counted.counter).await.expect("the store answers")
    }
}

pub async fn what_is_reserved_counts_until_it_is_taken_back(stores: &Stores) {
    let (first, second) = (stores.refund("1", 60), stores.refund("2", 7));
    assert_eq!(stores.total(&first).await, 0);
    assert_eq!(stores.counts(&first, 0).await, CountReserved::Done);
    assert_eq!(stores.counts(&second, 60).await, CountReserved::Done);
    assert_eq!(stores.windows.settle(&first.counted, "1", Became::NotMade).await, Ok(true));
    assert_eq!(stores.total(&first).await, 7);
    assert_eq!(stores.windows.settle(&second.counted, "2", Became::NotMade).await, Ok(true));
    assert_eq!(stores.counts(&stores.refund("3", 5), 0).await, CountReserved::Done, "a counter of zero is as none");
}

pub async fn what_happened_counts_after_it_is_settled(stores: &Stores) {
    let first = stores.refund("1", 60);
    assert_eq!(stores.counts(&first, 0).await, CountReserved::Done);
    assert_eq!(stores.windows.settle(&first.counted, "1", Became::Made).await, Ok(true));
    assert_eq!(stores.total(&first).await, 60);
}

pub async fn a_repeated_reservation_or_settlement_of_a_count_counts_once(stores: &Stores) {
    let first = stores.refund("1", 60);
    for _ in 0..2 {
        assert_eq!(stores.counts(&first, 0).await, CountReserved::Done);
    }
    assert_eq!(stores.windows.settle(&first.counted, "1", Became::NotMade).await, Ok(true));
    assert_eq!(stores.windows.settle(&first.counted, "1", Became::NotMade).await, Ok(false));
    assert_eq!(stores.windows.settle(&first.counted, "2", Became::NotMade).await, Ok(false));
    assert_eq!(stores.total(&first).await, 0);
}

pub async fn a_counter_that_changed_since_it_was_seen_counts_nothing_more(stores: &Stores) {
    let (first, second) = (stores.refund("1", 60), stores.refund("2", 7));
    assert_eq!(stores.counts(&first, 0).await, CountReserved::Done);
    assert_eq!(stores.counts(&second, 0).await, CountReserved::Changed { total: 60 });
    assert_eq!(stores.counts(&second, 61).await, CountReserved::Changed { total: 60 });
    assert_eq!(stores.total(&first).await, 60);
}

pub async fn of_many_that_saw_the_same_one_is_counted(stores: &Stores) {
    let wanted: Vec<CountReservation> = (0..16).map(|n| stores.refund(&n.to_string(), 5)).collect();
    let counted = join_all(wanted.iter().map(|one| stores.counts(one, 0))).await;
    assert_eq!(counted.iter().filter(|counted| **counted == CountReserved::Done).count(), 1);
    assert_eq!(stores.total(&wanted[0]).await, 5);
}

pub async fn counters_do_not_mix(stores: &Stores) {
    let by_actor = "refunded = sum(refund, /cents) per actor per day";
    let by_hour = "refunded = sum(refund, /cents) per /order per hour";
    let first = stores.refund("1", 60);
    assert_eq!(stores.counts(&first, 0).await, CountReserved::Done);
    for other in [
        stores.count(PER_ORDER, "globex", "A-1", "1", 1),
        stores.count(PER_ORDER, "acme", "A-2", "1", 1),
        stores.count(by_actor, "acme", "A-1", "1", 1),
        stores.count(by_hour, "acme", "A-1", "1", 1),
    ] {
        assert_eq!(stores.counts(&other, 0).await, CountReserved::Done);
    }
    stores.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(stores.counts(&stores.refund("1", 1), 0).await, CountReserved::Done, "the next day begins at zero");
    assert_eq!(stores.total(&first).await, 60);
}

pub async fn a_crowded_counter_makes_room_once_processes_are_dead(stores: &Stores) {
    for n in 0..OPEN_MAX {
        assert_eq!(stores.counts(&stores.refund(&n.to_string(), 1), n as u128).await, CountReserved::Done);
    }
    let (full, late) = (OPEN_MAX as u128, stores.refund("late", 1));
    assert_eq!(stores.counts(&late, full).await, CountReserved::Crowded);
    assert_eq!(stores.counts(&late, full).await, CountReserved::Crowded, "nobody is dead yet");
    stores.clock.advance(Duration::from_secs(60) + CLOCK_SKEW_MAX);
    assert_eq!(stores.counts(&late, full).await, CountReserved::Crowded);
    assert_eq!(stores.counts(&late, full).await, CountReserved::Done);
    assert_eq!(stores.total(&late).await, full + 1, "what dead processes reserved may have happened");
    assert_eq!(stores.windows.settle(&late.counted, "0", Became::NotMade).await, Ok(false), "it comes back too late");
}
