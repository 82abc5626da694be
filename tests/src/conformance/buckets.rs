//! Token buckets, as two processes take from them.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use windlass::door::rate::{Asked, Limits, Rate, Scope, Share, Taken, Whose};

use super::Stores;

fn limits(tenant: &str, actor: &str) -> Limits {
    Limits { tenant: tenant.parse().expect("a limit"), actor: actor.parse().expect("a limit"), ..Limits::OFF }
}

impl Stores {
    async fn takes(&self, process: usize, tenant: &str, actor: &str, limits: &Limits) -> Taken {
        self.takes_for(Scope::Starts, process, (tenant, actor), limits).await
    }

    async fn takes_for(&self, scope: Scope, process: usize, who: (&str, &str), limits: &Limits) -> Taken {
        let (tenant, actor) = (&who.0.parse().expect("a tenant"), &who.1.parse().expect("an actor"));
        let asked = Asked { scope, tenant, actor };
        self.buckets[process % 2].take(asked, limits, self.now()).await.expect("the store answers")
    }

    /// How many of `count` tries at once got a token, from either process.
    async fn of_at_once(&self, count: usize, limits: &Limits) -> usize {
        let tries = join_all((0..count).map(|process| self.takes(process, "acme", "ada", limits))).await;
        tries.iter().filter(|taken| matches!(taken, Taken::Yes(_))).count()
    }
}

fn left(taken: &Taken) -> Vec<u32> {
    let (Taken::Yes(standings) | Taken::No { standings, .. }) = taken;
    standings.iter().map(|standing| standing.left).collect()
}

pub async fn a_bucket_gives_its_burst_and_then_says_when_to_come_back(stores: &Stores) {
    let limits = limits("100/1:100", "1/5:3");
    for (process, wanted) in [[2, 99], [1, 98], [0, 97]].into_iter().enumerate() {
        let taken = stores.takes(process, "acme", "ada", &limits).await;
        assert_eq!((matches!(taken, Taken::Yes(_)), left(&taken)), (true, wanted.to_vec()));
    }
    for process in 0..2 {
        let taken = stores.takes(process, "acme", "ada", &limits).await;
        let Taken::No { empty, after, standings } = &taken else { panic!("the bucket is empty: {taken:?}") };
        assert_eq!((empty.as_slice(), *after), ([Whose::Actors].as_slice(), Duration::from_secs(5)));
        assert_eq!((left(&taken), standings[0].full_in), (vec![0, 97], Duration::from_secs(15)), "nothing was taken");
    }
}

pub async fn tokens_come_back_one_by_one_and_never_more_than_the_burst(stores: &Stores) {
    let limits = limits("off", "2/1:4");
    assert_eq!(stores.of_at_once(4, &limits).await, 4);
    stores.clock.advance(Duration::from_millis(499));
    assert_eq!(stores.of_at_once(3, &limits).await, 0);
    stores.clock.advance(Duration::from_millis(1));
    assert_eq!(stores.of_at_once(3, &limits).await, 1);
    stores.clock.advance(Duration::from_millis(1_000));
    assert_eq!(stores.of_at_once(5, &limits).await, 2);
    stores.clock.advance(Duration::from_secs(3600));
    assert_eq!(stores.of_at_once(9, &limits).await, 4);
}

pub async fn of_many_who_take_at_once_only_as_many_as_there_are_tokens_get_one(stores: &Stores) {
    assert_eq!(stores.of_at_once(40, &limits("1/60:25", "1/60:30")).await, 25);
    let taken = stores.takes(0, "acme", "ada", &limits("1/60:25", "1/60:30")).await;
    let Taken::No { empty, .. } = &taken else { panic!("the tenant's bucket is empty: {taken:?}") };
    assert_eq!((empty.as_slice(), left(&taken)), ([Whose::Tenants].as_slice(), vec![5, 0]));
}

pub async fn the_actors_of_a_tenant_share_its_bucket_and_nothing_else(stores: &Stores) {
    let limits = limits("1/60:3", "1/60:2");
    let mut answers = Vec::new();
    for (process, (tenant, actor)) in
        [("acme", "ada"), ("acme", "ada"), ("acme", "ada"), ("acme", "bob"), ("acme", "bob"), ("umbrella", "ada")]
            .into_iter()
            .enumerate()
    {
        answers.push(matches!(stores.takes(process, tenant, actor, &limits).await, Taken::Yes(_)));
    }
    assert_eq!(answers, [true, true, false, true, false, true]);
}

pub async fn a_limit_that_is_off_counts_nothing(stores: &Stores) {
    let off = limits("1/60:2", "off");
    assert_eq!(left(&stores.takes(0, "acme", "ada", &off).await), [1]);
    let taken = stores.takes(1, "acme", "ada", &limits("off", "1/60:2")).await;
    assert_eq!(left(&taken), [1], "the actor's bucket was not touched before: {taken:?}");
    assert_eq!(left(&stores.takes(0, "acme", "ada", &off).await), [0]);
}

pub async fn a_change_of_the_limit_holds_at_once(stores: &Stores) {
    assert_eq!(stores.of_at_once(3, &limits("off", "1/10:2")).await, 2);
    assert_eq!(stores.of_at_once(3, &limits("off", "1/10:4")).await, 2, "two more fit");
    assert_eq!(stores.of_at_once(1, &limits("off", "1/10:1")).await, 0);
}

pub async fn a_tenant_with_very_many_actors_is_counted_as_well(stores: &Stores) {
    let limits = limits("1000/1:1000", "1/60:1");
    let mut let_in = BTreeSet::new();
    for round in 0..2_usize {
        for number in 0..120_usize {
            let actor = format!("actor-{number}");
            if matches!(stores.takes(number + round, "acme", &actor, &limits).await, Taken::Yes(_)) {
                assert!(let_in.insert((round, number)));
            }
        }
        assert_eq!(let_in.len(), 120 * (round + 1));
        let again = stores.takes(round, "acme", "actor-0", &limits).await;
        assert!(matches!(again, Taken::No { .. }), "{again:?}");
        stores.clock.advance(Duration::from_secs(60));
    }
}

pub async fn what_is_counted_apart_has_buckets_of_its_own(stores: &Stores) {
    let limits = limits("1/60:1", "1/60:1");
    for scope in [Scope::Starts, Scope::Reads, Scope::Waits] {
        let taken = stores.takes_for(scope, 0, ("acme", "ada"), &limits).await;
        assert!(matches!(taken, Taken::Yes(_)), "{scope:?}: {taken:?}");
        let again = stores.takes_for(scope, 1, ("acme", "ada"), &limits).await;
        assert!(matches!(again, Taken::No { .. }), "{scope:?}: {again:?}");
    }
}

pub async fn a_share_is_counted_by_all_processes_and_refuses_once_it_is_bounded(stores: &Stores) {
    let counted = Limits { share: Share::Counted(Rate::clamped(3, 600, 3)), ..limits("off", "off") };
    let bounded = Limits { share: counted.share.bounded(), ..counted };
    for (process, wanted) in [2, 1, 0, 0, 0].into_iter().enumerate() {
        let taken = stores.takes(process, "acme", "ada", &counted).await;
        assert_eq!((matches!(taken, Taken::Yes(_)), left(&taken)), (true, vec![wanted]), "{process}");
    }
    for process in 0..2 {
        let taken = stores.takes(process, "acme", "bob", &bounded).await;
        assert!(matches!(&taken, Taken::No { empty, .. } if empty == &[Whose::Shares]), "{taken:?}");
        let idle = stores.takes(process, "other", "ada", &bounded).await;
        assert!(matches!(idle, Taken::Yes(_)), "{idle:?}");
    }
    stores.clock.advance(Duration::from_secs(200));
    assert!(matches!(stores.takes(0, "acme", "bob", &bounded).await, Taken::Yes(_)), "a third of it came back");
}
