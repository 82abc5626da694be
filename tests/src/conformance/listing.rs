//! Listing runs.

use windlass::{
    ids::RunId,
    journal::{Expected, Found, HeadStatus, Listing, Position, Reach, Search, Waiting, Whose},
};

use super::{BEGINNING, KEPT_FOR, SECOND, Stores, dead, finished};

/// Everything.
const ALL: Search =
    Search { whose: Whose::Everybody, since: None, before: None, statuses: std::collections::BTreeSet::new() };

fn of(tenant: &str, actor: &str) -> Listing {
    Listing::Of { tenant: tenant.parse().expect("a tenant"), actor: actor.parse().expect("an actor") }
}

fn awaiting(tenant: &str) -> Listing {
    Listing::AwaitingApproval { tenant: tenant.parse().expect("a tenant") }
}

impl Stores {
    async fn list(&self, listing: &Listing) -> Vec<RunId> {
        let heads = self.heads.list(listing, 10).await.expect("the store answers");
        heads.into_iter().map(|head| head.run).collect()
    }

    /// A page of a tenant's waiting runs.
    async fn page(&self, tenant: &str, after: Option<Position>, limit: usize) -> (Vec<RunId>, Option<Position>) {
        let tenant = tenant.parse().expect("a tenant");
        let Waiting { heads, next } = self.heads.waiting(&tenant, after, limit).await.expect("the store answers");
        (heads.into_iter().map(|head| head.run).collect(), next)
    }

    /// A page of what is found.
    async fn found(&self, search: &Search, limit: usize) -> (Vec<RunId>, Option<RunId>) {
        let Found { heads, next, reach } = self.search.search(search, limit).await.expect("the store answers");
        assert_eq!(reach, Reach::All);
        (heads.into_iter().map(|head| head.run).collect(), next)
    }

    async fn first(&self, listing: &Listing) -> Option<RunId> {
        self.heads.list(listing, 1).await.expect("the store answers").first().map(|head| head.run)
    }

    /// Three runs that are left so, a second apart.
    async fn three(&self, status: HeadStatus) -> [RunId; 3] {
        let mut runs = Vec::new();
        for key in ["1", "2", "3"] {
            let run = self.run(key).await;
            self.left(run, status.clone()).await;
            runs.push(run);
            self.clock.advance(SECOND);
        }
        [runs[0], runs[1], runs[2]]
    }
}

pub async fn an_actor_sees_the_newest_runs_first(stores: &Stores) {
    let [first, second, third] = stores.three(finished()).await;
    assert_eq!(stores.list(&of("acme", "ada")).await, [third, second, first]);
    let two = stores.heads.list(&of("acme", "ada"), 2).await.expect("the store answers");
    assert_eq!(two.into_iter().map(|head| head.run).collect::<Vec<_>>(), [third, second]);
}

pub async fn a_listed_head_is_whole(stores: &Stores) {
    let run = stores.run("k").await;
    stores.won(run, "a").await;
    let head = stores.head(run).await;
    assert_eq!(stores.heads.list(&of("acme", "ada"), 10).await, Ok(vec![head]));
}

pub async fn an_actor_sees_nobody_elses_runs(stores: &Stores) {
    let mine = stores.run("k").await;
    stores.take_on(stores.new_run_of("acme", "bob", "k")).await;
    stores.take_on(stores.new_run_of("other", "ada", "k")).await;
    assert_eq!(stores.list(&of("acme", "ada")).await, [mine]);
    assert_eq!(stores.list(&of("nobody", "ada")).await, []);
}

pub async fn the_longest_waiting_approval_comes_first(stores: &Stores) {
    let runs = stores.three(HeadStatus::AwaitingApproval).await;
    assert_eq!(stores.list(&awaiting("acme")).await, runs);
    assert_eq!(stores.list(&Listing::Troubled).await, []);
}

pub async fn waiting_runs_come_in_pages_and_none_twice(stores: &Stores) {
    let [first, second, third] = stores.three(HeadStatus::AwaitingApproval).await;
    let (runs, next) = stores.page("acme", None, 2).await;
    assert_eq!(runs, [first, second]);
    // What moves on meanwhile moves no page.
    stores.interject(first, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    let (runs, end) = stores.page("acme", next, 2).await;
    assert_eq!((runs, end), (vec![third], None));
    assert_eq!(stores.page("nobody", None, 2).await, (Vec::new(), None));
}

pub async fn a_position_of_another_tenant_leads_to_ones_own_runs(stores: &Stores) {
    let [_, _, third] = stores.three(HeadStatus::AwaitingApproval).await;
    let foreign = stores.take_on(stores.new_run_of("other", "ada", "k")).await;
    stores.left(foreign, HeadStatus::AwaitingApproval).await;
    let (_, next) = stores.page("acme", None, 2).await;
    assert_eq!(stores.page("other", next, 10).await, (vec![foreign], None), "only the moment counts");
    assert_eq!(stores.page("acme", next, 10).await, (vec![third], None));
}

pub async fn a_tenant_sees_its_own_approvals_only(stores: &Stores) {
    let mine = stores.run("k").await;
    let foreign = stores.take_on(stores.new_run_of("other", "ada", "k")).await;
    for run in [mine, foreign] {
        stores.left(run, HeadStatus::AwaitingApproval).await;
    }
    assert_eq!(stores.list(&awaiting("acme")).await, [mine]);
    assert_eq!(stores.list(&awaiting("other")).await, [foreign]);
}

pub async fn a_decided_run_is_out_of_the_inbox(stores: &Stores) {
    let [decided, waiting, other] = stores.three(HeadStatus::AwaitingApproval).await;
    stores.interject(decided, 2, &stores.cancelled("m"), Expected::Unfinished).await;
    assert_eq!(stores.list(&awaiting("acme")).await, [waiting, other]);
    assert_eq!(stores.first(&awaiting("acme")).await, Some(waiting));
}

pub async fn an_expired_run_hides_no_other_in_the_inbox(stores: &Stores) {
    let [_, _, third] = stores.three(HeadStatus::AwaitingApproval).await;
    stores.clock.set(super::BEGINNING + KEPT_FOR + 2 * SECOND);
    assert_eq!(stores.first(&awaiting("acme")).await, Some(third));
}

pub async fn a_run_that_is_left_otherwise_is_out_of_the_inbox(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, HeadStatus::AwaitingApproval).await;
    stores.clock.advance(3600 * SECOND);
    stores.left(run, dead()).await;
    assert_eq!(stores.list(&awaiting("acme")).await, []);
    assert_eq!(stores.list(&Listing::Troubled).await, [run]);
}

pub async fn the_newest_trouble_comes_first_whoever_has_it(stores: &Stores) {
    let (first, second) = (stores.run("k").await, stores.take_on(stores.new_run_of("other", "bob", "k")).await);
    stores.left(first, HeadStatus::Unreadable { problem: "entry 3".to_owned() }).await;
    stores.clock.advance(SECOND);
    stores.left(second, dead()).await;
    assert_eq!(stores.list(&Listing::Troubled).await, [second, first]);
}

pub async fn what_goes_well_is_in_no_inbox(stores: &Stores) {
    for (key, status) in [("1", HeadStatus::Ready), ("2", HeadStatus::Waiting), ("3", finished())] {
        let run = stores.run(key).await;
        stores.left(run, status).await;
    }
    assert_eq!(stores.list(&awaiting("acme")).await, []);
    assert_eq!(stores.list(&Listing::Troubled).await, []);
}

pub async fn a_replayed_run_is_in_trouble_no_more(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, dead()).await;
    assert_eq!(stores.list(&Listing::Troubled).await, [run]);
    stores.interject(run, 2, &stores.cancelled("m"), Expected::Dead).await;
    assert_eq!(stores.list(&Listing::Troubled).await, []);
}

pub async fn an_expired_run_is_not_listed(stores: &Stores) {
    let run = stores.run("k").await;
    stores.left(run, dead()).await;
    stores.clock.advance(KEPT_FOR + SECOND);
    assert_eq!(stores.list(&of("acme", "ada")).await, []);
    assert_eq!(stores.list(&Listing::Troubled).await, []);
}

pub async fn runs_of_everybody_are_found_in_pages_the_newest_first(stores: &Stores) {
    let [first, second, third] = stores.three(finished()).await;
    let foreign = stores.take_on(stores.new_run_of("other", "bob", "k")).await;
    assert_eq!(stores.found(&ALL, 10).await, (vec![foreign, third, second, first], None));
    let (page, next) = stores.found(&ALL, 3).await;
    assert_eq!((page, next), (vec![foreign, third, second], Some(second)));
    assert_eq!(stores.found(&Search { before: next, ..ALL }, 3).await, (vec![first], None));
    let head = stores.head(third).await;
    assert_eq!(
        stores.search.search(&Search { before: Some(foreign), ..ALL }, 1).await.map(|found| found.heads),
        Ok(vec![head])
    );
}

pub async fn runs_are_found_by_owner_age_and_status(stores: &Stores) {
    let [first, second, third] = stores.three(finished()).await;
    let foreign = stores.take_on(stores.new_run_of("other", "bob", "k")).await;
    let (tenant, actor) = ("acme".parse().expect("a tenant"), "bob".parse().expect("an actor"));
    let of = |whose| Search { whose, ..ALL };
    let mine = of(Whose::Tenant("acme".parse().expect("a tenant")));
    assert_eq!(stores.found(&mine, 10).await, (vec![third, second, first], None));
    assert_eq!(
        stores.found(&of(Whose::Tenant("acm".parse().expect("a tenant"))), 10).await,
        (vec![], None),
        "no prefix"
    );
    assert_eq!(stores.found(&of(Whose::Actor { tenant, actor }), 10).await, (vec![], None));
    let (tenant, actor) = ("acme".parse().expect("a tenant"), "ada".parse().expect("an actor"));
    assert_eq!(stores.found(&of(Whose::Actor { tenant, actor }), 2).await, (vec![third, second], Some(second)));
    let since = Search { since: Some(BEGINNING + SECOND), ..ALL };
    assert_eq!(stores.found(&since, 10).await, (vec![foreign, third, second], None));
    let status = |words: &[&str]| Search { statuses: words.iter().map(|word| (*word).to_owned()).collect(), ..ALL };
    assert_eq!(stores.found(&status(&["ready", "dead"]), 10).await, (vec![foreign], None));
    assert_eq!(stores.found(&status(&["completed"]), 2).await.0, [third, second]);
    assert_eq!(stores.found(&status(&["failed"]), 10).await, (vec![], None));
    stores.clock.advance(KEPT_FOR + 2 * SECOND);
    assert_eq!(stores.found(&ALL, 10).await.0, [], "expired");
}
