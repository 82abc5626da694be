//! Replay plans and the audit trail.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::{controls::Trail, locked};
use crate::{
    audit::{AUDIT_KEPT_FOR, AuditRecord},
    clock::Clock,
    dead_letter::{ItemStatus, PLAN_ITEMS_MAX, PLAN_KEPT_FOR, Plan, PlanError, ReplayPlans},
};

/// Replay plans and the audit trail in memory.
pub struct Plans {
    clock: Arc<dyn Clock>,
    plans: Mutex<BTreeMap<String, Kept>>,
    trail: Trail,
}

struct Kept {
    as_created: Plan,
    now: Plan,
}

impl Plans {
    /// No plans yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, plans: Mutex::default(), trail: Trail::default() }
    }

    /// The audit trail, to be shared.
    pub(super) fn trail(&self) -> Trail {
        Arc::clone(&self.trail)
    }
}

#[async_trait]
impl ReplayPlans for Plans {
    async fn create(&self, plan: &Plan) -> Result<(), PlanError> {
        let refused = |message: String| Err(PlanError::Refused { message });
        if plan.items.len() > PLAN_ITEMS_MAX {
            return refused(format!("a plan of {} items; at most {PLAN_ITEMS_MAX} are kept", plan.items.len()));
        }
        let mut plans = locked(&self.plans);
        match plans.get(&plan.id) {
            Some(kept) if kept.as_created == *plan => {}
            Some(_) => return refused(format!("there is another plan `{}`", plan.id)),
            None => {
                plans.insert(plan.id.clone(), Kept { as_created: plan.clone(), now: plan.clone() });
            }
        }
        Ok(())
    }

    async fn plan(&self, id: &str) -> Result<Option<Plan>, PlanError> {
        let now = self.clock.now();
        let plans = locked(&self.plans);
        let live = plans.get(id).filter(|kept| !(kept.now.created + PLAN_KEPT_FOR).has_expired(now));
        Ok(live.map(|kept| kept.now.clone()))
    }

    async fn advance(&self, plan: &str, key: &str, seen: &ItemStatus, to: &ItemStatus) -> Result<bool, PlanError> {
        let mut plans = locked(&self.plans);
        let items = plans.get_mut(plan).map(|kept| kept.now.items.iter_mut());
        let item = items.into_iter().flatten().find(|item| item.key == key && item.status == *seen);
        Ok(item.map(|item| item.status = to.clone()).is_some())
    }

    async fn audit(&self, record: &AuditRecord) -> Result<(), PlanError> {
        locked(&self.trail).insert((record.at, record.id.clone()), record.clone());
        Ok(())
    }

    async fn audit_trail(&self, limit: usize) -> Result<Vec<AuditRecord>, PlanError> {
        let now = self.clock.now();
        let trail = locked(&self.trail);
        let live = trail.values().rev().filter(|record| !(record.at + AUDIT_KEPT_FOR).has_expired(now));
        Ok(live.take(limit).cloned().collect())
    }
}
