//! Replay plans and the audit trail.

use futures::future::join_all;
use windlass::audit::{AUDIT_KEPT_FOR, AuditRecord};
use windlass::dead_letter::{ItemStatus, PLAN_ITEMS_MAX, PLAN_KEPT_FOR, Plan, PlanError, PlanItem};

use super::{SECOND, Stores};

impl Stores {
    fn plan(&self, id: &str, items: usize) -> Plan {
        let item = |n: usize| PlanItem {
            // Not in the order of their keys.
            key: format!("message/{}", (n * 7919) % 10_007),
            fingerprint: format!("f-{n}"),
            status: ItemStatus::Pending,
        };
        Plan {
            id: id.to_owned(),
            by: "ada".parse().expect("an actor"),
            created: self.now(),
            reason: "the provider is back".to_owned(),
            items: (0..items).map(item).collect(),
        }
    }

    async fn created(&self, id: &str, items: usize) -> Plan {
        let plan = self.plan(id, items);
        self.plans.create(&plan).await.expect("it is kept");
        plan
    }

    async fn audit(&self, id: &str) -> AuditRecord {
        let record = AuditRecord {
            id: id.to_owned(),
            at: self.now(),
            by: "ada".parse().expect("an actor"),
            principal: Some("arn:aws:iam::000000000000:user/ada".to_owned()),
            action: "replay.run".to_owned(),
            subject: "plan p".to_owned(),
            detail: "2 of 2 recovered".to_owned(),
        };
        self.plans.audit(&record).await.expect("it is kept");
        record
    }

    async fn replayed(&self, plan: &Plan, key: &str) -> bool {
        let to = ItemStatus::Replayed { at: self.now() };
        self.plans.advance(&plan.id, key, &ItemStatus::Pending, &to).await.expect("the store answers")
    }
}

pub async fn a_plan_comes_back_in_its_order(stores: &Stores) {
    let plan = stores.created("p", 40).await;
    assert_eq!(stores.plans.plan("p").await, Ok(Some(plan)));
}

pub async fn the_largest_plan_comes_back_whole_and_a_larger_one_is_refused(stores: &Stores) {
    let plan = stores.created("p", PLAN_ITEMS_MAX).await;
    let there = stores.plans.plan("p").await.expect("the store answers").expect("it is there");
    assert!(there == plan, "{} of {PLAN_ITEMS_MAX} items", there.items.len());
    let refused = stores.plans.create(&stores.plan("q", PLAN_ITEMS_MAX + 1)).await;
    assert!(matches!(refused, Err(PlanError::Refused { .. })), "{refused:?}");
    assert_eq!(stores.plans.plan("q").await, Ok(None));
}

pub async fn a_plan_that_nobody_made_is_not_there(stores: &Stores) {
    stores.created("p", 1).await;
    assert_eq!(stores.plans.plan("q").await, Ok(None));
}

pub async fn an_item_is_moved_at_most_once(stores: &Stores) {
    let plan = stores.created("p", 2).await;
    let key = &plan.items[1].key;
    let moved = join_all((0..8).map(|_| stores.replayed(&plan, key))).await;
    assert_eq!(moved.iter().filter(|moved| **moved).count(), 1);
    assert!(!stores.replayed(&plan, key).await);
    let now = stores.plans.plan("p").await.expect("the store answers").expect("it is there");
    assert_eq!(now.items[0].status, ItemStatus::Pending);
    assert_eq!(now.items[1].status, ItemStatus::Replayed { at: stores.now() });
}

pub async fn an_item_moves_on_from_what_it_is(stores: &Stores) {
    let plan = stores.created("p", 1).await;
    let key = &plan.items[0].key;
    assert!(stores.replayed(&plan, key).await);
    let (seen, later) = (ItemStatus::Replayed { at: stores.now() }, ItemStatus::Replayed { at: stores.now() + SECOND });
    let failed = ItemStatus::Failed { message: "as before".to_owned() };
    assert_eq!(stores.plans.advance("p", key, &later, &ItemStatus::Recovered).await, Ok(false));
    assert_eq!(stores.plans.advance("p", key, &seen, &failed).await, Ok(true));
    let now = stores.plans.plan("p").await.expect("the store answers").expect("it is there");
    assert_eq!(now.items[0].status, failed);
}

pub async fn an_item_that_is_not_there_is_not_moved(stores: &Stores) {
    let plan = stores.created("p", 1).await;
    assert!(!stores.replayed(&plan, "message/other").await);
    assert!(!stores.replayed(&stores.plan("q", 1), &plan.items[0].key).await);
    assert_eq!(stores.plans.plan("p").await, Ok(Some(plan)));
}

pub async fn a_plan_that_is_made_again_keeps_what_has_become_of_it(stores: &Stores) {
    let plan = stores.created("p", 2).await;
    stores.replayed(&plan, &plan.items[0].key).await;
    assert_eq!(stores.plans.create(&plan).await, Ok(()));
    assert!(!stores.replayed(&plan, &plan.items[0].key).await);
}

pub async fn another_plan_of_the_same_id_is_refused(stores: &Stores) {
    let plan = stores.created("p", 2).await;
    let other = Plan { reason: "another reason".to_owned(), ..plan.clone() };
    let refused = stores.plans.create(&other).await;
    assert!(matches!(refused, Err(PlanError::Refused { .. })), "{refused:?}");
    assert_eq!(stores.plans.plan("p").await, Ok(Some(plan)));
}

pub async fn an_expired_plan_is_never_read(stores: &Stores) {
    stores.created("p", 1).await;
    stores.clock.advance(PLAN_KEPT_FOR + SECOND);
    assert_eq!(stores.plans.plan("p").await, Ok(None));
}

pub async fn the_audit_trail_is_read_newest_first(stores: &Stores) {
    let mut records = Vec::new();
    for id in ["01", "02", "03"] {
        records.push(stores.audit(id).await);
        stores.clock.advance(SECOND);
    }
    records.reverse();
    assert_eq!(stores.plans.audit_trail(10).await, Ok(records.clone()));
    records.truncate(2);
    assert_eq!(stores.plans.audit_trail(2).await, Ok(records));
}

pub async fn two_audit_records_of_one_moment_are_both_kept(stores: &Stores) {
    let (first, second) = (stores.audit("01").await, stores.audit("02").await);
    stores.audit("02").await;
    assert_eq!(stores.plans.audit_trail(10).await, Ok(vec![second, first]));
}

pub async fn an_expired_audit_record_is_never_read(stores: &Stores) {
    stores.audit("01").await;
    stores.clock.advance(SECOND + SECOND);
    let young = stores.audit("02").await;
    stores.clock.advance(AUDIT_KEPT_FOR);
    assert_eq!(stores.plans.audit_trail(10).await, Ok(vec![young]));
}
