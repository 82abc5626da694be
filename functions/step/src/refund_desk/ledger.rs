//! The desk's own records: orders, refunds and letters. In production this is the shop's system; here it is a table.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use windlass::{agent::tool::ToolError, ids::Tenant};

/// An order as the desk sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub order: String,
    /// Who bought.
    pub customer: String,
    /// What was paid, in cents.
    pub total_cents: u64,
    /// What has been paid back, in cents.
    pub refunded_cents: u64,
}

/// A refund that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Its id at the payment provider.
    pub refund: String,
    /// The order.
    pub order: String,
    /// How much, in cents.
    pub amount_cents: u64,
}

/// Where orders, refunds and letters are kept.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// An order.
    async fn order(&self, tenant: &Tenant, order: &str) -> Result<Option<Order>, ToolError>;
    /// Refunds once per key: a repetition answers what the first answered.
    async fn refund(&self, tenant: &Tenant, order: &str, amount_cents: u64, key: &str) -> Result<Refund, ToolError>;
    /// Takes the refund under the key back, once; when there is none, makes sure that there never will be.
    async fn reverse(&self, tenant: &Tenant, order: &str, key: &str) -> Result<(), ToolError>;
    /// Sends a letter. Every call sends one.
    async fn send_letter(&self, tenant: &Tenant, order: &str, text: &str) -> Result<String, ToolError>;
    /// Whether the drill of this name is armed: what it breaks stays broken until it is disarmed.
    async fn is_armed(&self, drill: &str) -> Result<bool, ToolError>;
}
