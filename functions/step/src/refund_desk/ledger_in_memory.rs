//! The ledger in memory, really storing: for simulations and fast tests, which count effects in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use windlass::{agent::tool::ToolError, ids::Tenant};

use super::ledger::{Ledger, Order, Refund};

/// A ledger in memory.
#[derive(Debug, Default)]
pub struct LedgerInMemory {
    records: Mutex<Records>,
}

/// Everything the ledger holds.
#[derive(Debug, Default, Clone)]
pub struct Records {
    /// Orders by tenant and number.
    pub orders: BTreeMap<(Tenant, String), Order>,
    /// Refunds by key; `None` for one that was reversed.
    pub refunds: BTreeMap<String, Option<Refund>>,
    /// Letters as tenant, order and text.
    pub letters: Vec<(Tenant, String, String)>,
    /// Armed drills.
    pub armed: BTreeSet<String>,
}

impl LedgerInMemory {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of everything.
    pub fn records(&self) -> Records {
        self.lock().clone()
    }

    /// Adds an order.
    pub fn add_order(&self, tenant: &Tenant, order: Order) {
        self.lock().orders.insert((tenant.clone(), order.order.clone()), order);
    }

    /// Arms or disarms a drill.
    pub fn arm(&self, drill: &str) {
        self.lock().armed.insert(drill.to_owned());
    }
}

#[async_trait]
impl Ledger for LedgerInMemory {
    async fn order(&self, tenant: &Tenant, order: &str) -> Result<Option<Order>, ToolError> {
        Ok(self.lock().orders.get(&(tenant.clone(), order.to_owned())).cloned())
    }

    async fn refund(&self, tenant: &Tenant, order: &str, amount_cents: u64, key: &str) -> Result<Refund, ToolError> {
        let mut records = self.lock();
        match records.refunds.get(key) {
            Some(Some(refund)) => return Ok(refund.clone()),
            Some(None) => return Err(ToolError::Failed { message: "the refund was reversed".to_owned() }),
            None => {}
        }
        let Some(known) = records.orders.get_mut(&(tenant.clone(), order.to_owned())) else {
            return Err(ToolError::Failed { message: format!("there is no order `{order}`") });
        };
        if known.refunded_cents + amount_cents > known.total_cents {
            return Err(ToolError::Failed { message: "more than is left of the order".to_owned() });
        }
        known.refunded_cents += amount_cents;
        let refund = Refund { refund: format!("re_{key}"), order: order.to_owned(), amount_cents };
        records.refunds.insert(key.to_owned(), Some(refund.clone()));
        Ok(refund)
    }

    async fn reverse(&self, tenant: &Tenant, order: &str, key: &str) -> Result<(), ToolError> {
        let mut records = self.lock();
        if let Some(Some(refund)) = records.refunds.insert(key.to_owned(), None)
            && let Some(known) = records.orders.get_mut(&(tenant.clone(), order.to_owned()))
        {
            known.refunded_cents -= refund.amount_cents;
        }
        Ok(())
    }

    async fn send_letter(&self, tenant: &Tenant, order: &str, text: &str) -> Result<String, ToolError> {
        let mut records = self.lock();
        records.letters.push((tenant.clone(), order.to_owned(), text.to_owned()));
        Ok(format!("letter-{}", records.letters.len()))
    }

    async fn is_armed(&self, drill: &str) -> Result<bool, ToolError> {
        Ok(self.lock().armed.contains(drill))
    }
}
