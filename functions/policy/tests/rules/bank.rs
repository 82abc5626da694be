//! A small bank: its tools, its rules, and questions about them.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use windlass::{
    agent::{
        history::{History, OtherCall},
        policy::{PolicyQuestion, Ruling, Tightening, judge},
        redaction::Redaction,
        schema::ArgumentSchema,
        tool::{Effect, ErrorsMean, ToolSpec},
    },
    config::Environment,
    ids::{Role, ToolName},
    retry::RetryPolicy,
    run::{request::RunRequest, state::Totals},
    windows::WindowTotals,
};
use windlass_policy::{CedarPolicy, PolicyErrors, PolicyTerms, PolicyText};

/// The bank's rules.
pub const RULES: &str = include_str!("bank.cedar");

fn tool(name: &str, effect: Effect, schema: Value) -> ToolSpec {
    ToolSpec {
        name: name.parse().expect("a tool name"),
        description: String::new(),
        schema: ArgumentSchema::compile(schema).expect("a schema"),
        effect,
        owner: "bank".to_owned(),
        timeout: Duration::from_secs(1),
        retry: RetryPolicy::PATIENT,
        errors_mean: ErrorsMean::NotDone,
        compensable: false,
        approval: None,
        redaction: Redaction::default(),
        cache: None,
    }
}

/// The bank's tools.
pub fn tools() -> Vec<ToolSpec> {
    let account = json!({ "type": "object", "properties": { "account": { "type": "string" } } });
    let refund = json!({
        "type": "object",
        "properties": { "order": { "type": "string" }, "amount_cents": { "type": "integer" } },
        "required": ["order", "amount_cents"],
    });
    let letter = json!({
        "type": "object",
        "properties": { "text": { "type": "string" }, "copies": { "type": ["integer", "null"] } },
        "required": ["text", "copies"],
    });
    let transfer = json!({
        "type": "object",
        "properties": {
            "euros": { "type": "number" },
            "to": {
                "type": "object",
                "properties": { "country": { "enum": ["de", "fr", "ru"] }, "name": { "type": "string" } },
                "required": ["country"],
            },
            "tags": { "type": "array", "items": { "type": "string" } },
            "urgent": { "anyOf": [{ "type": "boolean" }, { "type": "null" }] },
            "note": {},
        },
        "required": ["euros", "to"],
    });
    vec![
        tool("balance", Effect::Read, account.clone()),
        tool("refund", Effect::Idempotent, refund),
        tool("transfer", Effect::Queryable, transfer),
        tool("letter", Effect::Irreversible, letter),
        tool("close", Effect::Irreversible, account),
    ]
}

/// The rules of `text`, held against the bank's tools.
pub fn load(text: &str) -> Result<CedarPolicy, PolicyErrors> {
    let terms = PolicyTerms {
        environment: Environment::Production,
        approval_expires_after: Duration::from_secs(3600),
        doubt_role: "teller".parse().expect("a role"),
        reminder: None,
    };
    CedarPolicy::load(&[PolicyText { file: "bank.cedar".to_owned(), text: text.to_owned() }], &tools(), terms)
}

/// A call that is asked about.
#[derive(Debug, Clone)]
pub struct Asked {
    pub tool: String,
    pub arguments: Value,
    pub tenant: &'static str,
    pub actor: &'static str,
    pub agent: &'static str,
    pub tightening: Tightening,
    pub totals: Totals,
    pub roles: BTreeSet<Role>,
    pub before: Vec<(ToolName, Value)>,
    pub planned: Vec<(ToolName, Value)>,
    pub windows: WindowTotals,
}

fn others(calls: &[(ToolName, Value)]) -> Vec<OtherCall<'_>> {
    calls.iter().map(|(tool, arguments)| OtherCall { tool, arguments, detail: Default::default() }).collect()
}

/// A call of an ordinary actor.
pub fn ask(tool: &str, arguments: Value) -> Asked {
    Asked {
        tool: tool.to_owned(),
        arguments,
        tenant: "acme",
        actor: "ada",
        agent: "desk",
        tightening: Tightening::None,
        totals: Totals::default(),
        roles: BTreeSet::new(),
        before: Vec::new(),
        planned: Vec::new(),
        windows: WindowTotals::new(),
    }
}

impl Asked {
    /// What the bank's policy rules.
    pub fn of(&self, policy: &CedarPolicy) -> Ruling {
        let request = RunRequest {
            tenant: self.tenant.parse().expect("a tenant"),
            actor: self.actor.parse().expect("an actor"),
            task: self.agent.parse().expect("a task"),
            payload: json!({}),
            roles: self.roles.clone(),
        };
        let tool: ToolName = self.tool.parse().expect("a tool name");
        let effect = tools().iter().find(|spec| spec.name == tool).map_or(Effect::Irreversible, |spec| spec.effect);
        let question = PolicyQuestion {
            request: &request,
            tool: &tool,
            arguments: &self.arguments,
            effect,
            totals: &self.totals,
            history: &History { before: others(&self.before), planned: others(&self.planned) },
            windows: &self.windows,
            tightening: self.tightening,
        };
        judge(policy, &question)
    }
}
