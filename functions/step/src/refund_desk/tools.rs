//! The tools of the sample agent.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use windlass::{
    agent::{
        redaction::Redaction,
        schema::{ArgumentSchema, InvalidSchema},
        tool::{CallContext, Effect, ErrorsMean, Tool, ToolError, ToolSpec},
    },
    ids::InvalidId,
    retry::RetryPolicy,
};

use super::ledger::Ledger;

/// How long one call to the ledger may take, the SDK's own retries included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// When a call to the ledger is tried again.
const RETRY: RetryPolicy =
    RetryPolicy { rest_first: Duration::from_millis(200), rest_max: Duration::from_secs(300), give_up_after: None };

/// The longest text of a letter.
const LETTER_CHARS_MAX: usize = 4_000;

/// The most bytes that one `drill_step` answers.
const DRILL_BYTES_MAX: usize = 32 * 1024;

/// The longest that one `drill_step` takes: well within [`TIMEOUT`].
const DRILL_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A tool of the desk is not one: a mistake in this file.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTool {
    /// Its name.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// Its schema.
    #[error(transparent)]
    Schema(#[from] InvalidSchema),
    /// The search of the handbook.
    #[error(transparent)]
    Search(#[from] windlass::retrieval::InvalidSearch),
}

/// Every tool of the desk.
///
/// # Errors
/// When one is not sound.
pub fn tools(ledger: &Arc<dyn Ledger>, drills: Drills) -> Result<Vec<Arc<dyn Tool>>, InvalidTool> {
    let mut kinds = vec![Kind::LookUpOrder, Kind::Refund, Kind::WriteToCustomer];
    if drills == Drills::Available {
        kinds.extend([Kind::DrillStep, Kind::DrillCrash]);
    }
    let tool = |kind: Kind| -> Result<Arc<dyn Tool>, InvalidTool> {
        Ok(Arc::new(DeskTool { spec: kind.spec()?, kind, ledger: Arc::clone(ledger) }))
    };
    kinds.into_iter().map(tool).collect()
}

/// Whether the tools that break things on purpose are there: in development only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drills {
    /// They are.
    Available,
    /// They are not.
    Absent,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    LookUpOrder,
    Refund,
    WriteToCustomer,
    DrillStep,
    DrillCrash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderArguments {
    order: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundArguments {
    order: String,
    amount_cents: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LetterArguments {
    order: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepArguments {
    bytes: usize,
    /// How long it takes, as a slow tool would.
    #[serde(default)]
    pause_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CrashArguments {
    drill: String,
}

impl Kind {
    fn spec(self) -> Result<ToolSpec, InvalidTool> {
        let order = json!({ "type": "string", "minLength": 1, "maxLength": 64 });
        let (name, description, effect, properties) = match self {
            Kind::LookUpOrder => ("look_up_order", "Looks up an order", Effect::Read, json!({ "order": order })),
            Kind::Refund => (
                "refund",
                "Pays back part or all of an order",
                Effect::Idempotent,
                json!({ "order": order, "amount_cents": { "type": "integer", "minimum": 1 } }),
            ),
            Kind::WriteToCustomer => (
                "write_to_customer",
                "Sends a letter to the customer",
                Effect::Irreversible,
                json!({ "order": order, "text": { "type": "string", "maxLength": LETTER_CHARS_MAX } }),
            ),
            Kind::DrillStep => (
                "drill_step",
                "Does nothing, for a while, and answers with some bytes",
                Effect::Read,
                json!({
                    "bytes": { "type": "integer", "minimum": 0, "maximum": DRILL_BYTES_MAX },
                    "pause_ms": { "type": "integer", "minimum": 0, "maximum": DRILL_PAUSE_MAX.as_millis() as u64 },
                }),
            ),
            Kind::DrillCrash => (
                "drill_crash",
                "Kills the worker while the drill is armed",
                Effect::Idempotent,
                json!({ "drill": { "type": "string" } }),
            ),
        };
        let names = properties.as_object().into_iter().flat_map(|all| all.keys().cloned());
        let required: Vec<String> = names.filter(|name| name != "pause_ms").collect();
        Ok(ToolSpec {
            name: name.parse()?,
            description: description.to_owned(),
            schema: ArgumentSchema::compile(json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            }))?,
            effect,
            owner: "refund desk".to_owned(),
            timeout: TIMEOUT,
            retry: RETRY,
            // It looks for the key before anything else, and answers an error before it writes.
            errors_mean: ErrorsMean::NotDone,
            compensable: matches!(self, Kind::Refund),
            approval: None,
            redaction: Redaction::default(),
            cache: None,
        })
    }
}

struct DeskTool {
    spec: ToolSpec,
    kind: Kind,
    ledger: Arc<dyn Ledger>,
}

/// `bytes` bytes that compress like a tool's answer does: words, in an order of their own for each call.
fn prose(seed: u32, bytes: usize) -> String {
    const WORDS: [&str; 32] = [
        "order",
        "item",
        "customer",
        "paid",
        "street",
        "parcel",
        "delivered",
        "amount",
        "cents",
        "because",
        "returned",
        "friday",
        "warehouse",
        "invoice",
        "shipping",
        "blue",
        "size",
        "stock",
        "partial",
        "address",
        "phone",
        "late",
        "courier",
        "signed",
        "gift",
        "discount",
        "tax",
        "country",
        "label",
        "weight",
        "note",
        "status",
    ];
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 59) as usize]);
        // Writing to a text does not fail.
        let _ = write!(text, " {} ", (state >> 40) & 0xfff);
    }
    text.truncate(bytes);
    text
}

/// Arguments were checked before the policy saw them; a mismatch here is the tool's own mistake.
fn parsed<T: DeserializeOwned>(arguments: &Value) -> Result<T, ToolError> {
    T::deserialize(arguments).map_err(|error| ToolError::Refused { message: error.to_string() })
}

#[async_trait]
impl Tool for DeskTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        let tenant = &context.tenant;
        match self.kind {
            Kind::LookUpOrder => {
                let order = parsed::<OrderArguments>(arguments)?.order;
                match self.ledger.order(tenant, &order).await? {
                    Some(found) => Ok(json!(found)),
                    None => Err(ToolError::Refused { message: format!("there is no order `{order}`") }),
                }
            }
            Kind::Refund => {
                let RefundArguments { order, amount_cents } = parsed(arguments)?;
                let refund = self.ledger.refund(tenant, &order, amount_cents, &context.idempotency_key).await?;
                Ok(json!(refund))
            }
            Kind::WriteToCustomer => {
                let LetterArguments { order, text } = parsed(arguments)?;
                let letter = self.ledger.send_letter(tenant, &order, &text).await?;
                Ok(json!({ "letter": letter }))
            }
            Kind::DrillStep => {
                let StepArguments { bytes, pause_ms } = parsed(arguments)?;
                if pause_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(pause_ms).min(DRILL_PAUSE_MAX)).await;
                }
                Ok(json!({ "text": prose(context.call.0, bytes) }))
            }
            Kind::DrillCrash => {
                if self.ledger.is_armed(&parsed::<CrashArguments>(arguments)?.drill).await? {
                    std::process::abort();
                }
                Ok(json!({}))
            }
        }
    }

    async fn compensate(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        match self.kind {
            Kind::Refund => {
                let order = parsed::<RefundArguments>(arguments)?.order;
                self.ledger.reverse(&context.tenant, &order, &context.idempotency_key).await?;
                Ok(json!({ "reversed": true }))
            }
            _ => Err(ToolError::Refused { message: format!("`{}` cannot be undone", self.spec.name) }),
        }
    }
}
