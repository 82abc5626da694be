//! `windlass policy`: holding a policy against the tools, and trying calls on it. Nothing is written and nothing is connected to.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use step::refund_desk::{
    handbook::{handbook, search},
    ledger::Ledger,
    ledger_in_memory::LedgerInMemory,
    policy::{policy, terms},
    tools::{Drills, InvalidTool, tools},
};
use windlass::{
    agent::{
        history::{History, OtherCall},
        policy::{Policy as _, PolicyQuestion, Ruling, Tightening, judge},
        tool::ToolSpec,
        tool_set::{InvalidToolSet, tool_set},
    },
    clock::SystemClock,
    config::Environment,
    ids::{Actor, InvalidId, Role, Task, Tenant, ToolName},
    run::{
        entry::Decision,
        request::RunRequest,
        state::{Detail, Totals},
    },
    windows::{InvalidWindow, WindowName, WindowTotals},
};
use windlass_policy::CedarPolicy;

use self::listing::listed_in;
use crate::{console::Console, failure::Failure, table::Table};

mod listing;

const SAMPLE_MISTAKE: &str = "this is a mistake in the sample agent";

/// `windlass policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Hold a policy against the tools, as the step function does before it starts
    #[command(
        after_help = "Examples:\n  windlass policy check\n  windlass policy check policy.cedar --environment production"
    )]
    Check(Rules),
    /// Try one call on a policy: what it decides, and by which rules
    #[command(after_help = "\
Examples:
  windlass policy explain --tool refund --arguments '{\"order\":\"A-1001\",\"amount_cents\":9900}'
  windlass policy explain --tool refund --arguments '{\"order\":\"A-1001\",\"amount_cents\":1}' --tighten deny
  windlass policy explain --tool refund --arguments '{\"order\":\"A-1001\",\"amount_cents\":4000}' \
    --before 'refund={\"order\":\"A-1001\",\"amount_cents\":2000}' --window refunded=2000 --role auditor
  windlass policy explain policy.cedar --tools shop=tools.json --tool shop/find --arguments '{\"id\":\"7\"}'")]
    Explain(Box<Explain>),
}

/// Which policy, and where it is to hold.
#[derive(Debug, Args)]
pub struct Rules {
    /// The Cedar policy file (else the built-in rules)
    #[arg(value_name = "FILE", env = "POLICY_FILE", hide_env_values = true)]
    pub file: Option<std::path::PathBuf>,
    /// Where it is to hold: dev, staging or production
    #[arg(long, default_value = "dev", value_parser = environment)]
    pub environment: Environment,
    /// Tools of an MCP server, as its `tools/list` answers (`{"tools":[…]}`); with the server's name before them: `shop=tools.json`
    #[arg(long, value_name = "[SERVER=]FILE")]
    pub tools: Vec<String>,
}

/// Which call to try, on which policy.
#[derive(Debug, Args)]
pub struct Explain {
    /// Which policy.
    #[command(flatten)]
    pub rules: Rules,
    /// The tool
    #[arg(long)]
    pub tool: ToolName,
    /// Its arguments, as JSON
    #[arg(long, default_value = "{}", value_name = "JSON", value_parser = arguments)]
    pub arguments: Value,
    /// Whose data it touches
    #[arg(long, default_value = "acme")]
    pub tenant: Tenant,
    /// Who asked for the run
    #[arg(long, default_value = "somebody")]
    pub actor: Actor,
    /// What the run was asked to do
    #[arg(long, default_value = "refund")]
    pub task: Task,
    /// A role of whoever asked for the run
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<Role>,
    /// A call that the run made before, or that waits for a person
    #[arg(long, value_name = "TOOL=JSON", value_parser = call)]
    pub before: Vec<OneCall>,
    /// A call that stands after this one in the same plan
    #[arg(long, value_name = "TOOL=JSON", value_parser = call)]
    pub planned: Vec<OneCall>,
    /// What a window has counted, without this call (0 for each that is not named)
    #[arg(long = "window", value_name = "NAME=NUMBER", value_parser = counted)]
    pub windows: Vec<(WindowName, u64)>,
    /// What the run has cost so far, in millionths of a US dollar
    #[arg(long, default_value_t = 0, value_name = "MICRO_USD")]
    pub cost: u64,
    /// How often the run has asked the model so far
    #[arg(long, default_value_t = 0)]
    pub steps: u32,
    /// What the controls ask for: none, approve or deny
    #[arg(long, default_value = "none", value_parser = tightening)]
    pub tighten: Tightening,
}

/// A call beside the one that is tried.
#[derive(Debug, Clone)]
pub struct OneCall {
    /// Its tool.
    pub tool: ToolName,
    /// Its arguments.
    pub arguments: Value,
}

/// Carries out a command.
///
/// # Errors
/// When the policy cannot be taken on; not when it denies a call.
pub fn run(command: &Policy, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Policy::Check(rules) => check(rules, json, console),
        Policy::Explain(wanted) => explain(wanted, json, console),
    }
}

/// The desk as far as its policy needs it.
struct Desk {
    tools: BTreeMap<ToolName, ToolSpec>,
    policy: CedarPolicy,
}

fn desk(rules: &Rules) -> Result<Desk, Failure> {
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInMemory::default());
    // Development may have them.
    let drills = match rules.environment {
        Environment::Dev => Drills::Available,
        Environment::Staging | Environment::Production => Drills::Absent,
    };
    let wrong_name = |error: InvalidId| Failure::Usage { message: error.to_string(), hint: SAMPLE_MISTAKE };
    let wrong_tool = |error: InvalidTool| Failure::Usage { message: error.to_string(), hint: SAMPLE_MISTAKE };
    let wrong_set = |error: InvalidToolSet| Failure::Usage { message: error.to_string(), hint: SAMPLE_MISTAKE };
    let own = tools(&ledger, drills).map_err(wrong_tool)?;
    let index = handbook(None).map_err(|error| Failure::Usage { message: error.to_string(), hint: SAMPLE_MISTAKE })?;
    let search = search(&index, Arc::new(SystemClock)).map_err(wrong_tool)?;
    let tools = tool_set(own.into_iter().chain([search])).map_err(wrong_set)?;
    let mut tools: BTreeMap<_, _> = tools.into_iter().map(|(name, tool)| (name, tool.spec().clone())).collect();
    for listing in &rules.tools {
        tools.extend(listed_in(listing)?);
    }
    let terms = terms(rules.environment, Duration::ZERO).map_err(wrong_name)?;
    let policy = policy(rules.file.as_deref().map(Path::new), drills, tools.values(), terms)?;
    Ok(Desk { tools, policy })
}

fn check(rules: &Rules, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let desk = desk(rules)?;
    let (version, names) = (desk.policy.version(), desk.policy.rules());
    let warnings: Vec<String> = desk.policy.warnings().iter().map(ToString::to_string).collect();
    if json {
        let windows: Vec<String> = desk.policy.windows().iter().map(ToString::to_string).collect();
        let said = json!({ "version": version, "rules": names, "warnings": warnings, "windows": windows });
        return Ok(console.json(&said)?);
    }
    for warning in &warnings {
        console.note(format!("warning: {warning}"))?;
    }
    let windows: Vec<String> = desk.policy.windows().iter().map(ToString::to_string).collect();
    if !windows.is_empty() {
        console.note(format!("windows: {}", windows.join("; ")))?;
    }
    let count = names.len();
    Ok(console.line(format!("{version}: {count} rules fit {} tools: {}", desk.tools.len(), names.join(", ")))?)
}

fn explain(wanted: &Explain, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let desk = desk(&wanted.rules)?;
    let Ruling { decision, policies } = ruling(&desk, wanted);
    let version = desk.policy.version();
    if json {
        let said = json!({ "decision": decision, "policies": policies, "policy_version": version });
        return Ok(console.json(&said)?);
    }
    let (word, role, reason) = match &decision {
        Decision::Allow { reason } => ("allow", None, reason),
        Decision::RequireApproval { role, reason } => ("require approval", Some(role), reason),
        Decision::Deny { reason } => ("deny", None, reason),
    };
    let mut table = Table::new(&[]);
    table.row(["decision", word]);
    if let Some(role) = role {
        table.row(["by", role.as_str()]);
    }
    table.row(["because", reason.as_str()]);
    let rules = if policies.is_empty() { "none".to_owned() } else { policies.join(", ") };
    table.row(["rules", rules.as_str()]);
    table.row(["policy", version]);
    Ok(console.text(table.text(console.paint()))?)
}

/// What a run would be told, its tool's own check of the arguments included.
fn ruling(desk: &Desk, wanted: &Explain) -> Ruling {
    let denied = |reason| Ruling { decision: Decision::Deny { reason }, policies: Vec::new() };
    let Some(tool) = desk.tools.get(&wanted.tool) else {
        return denied(format!("there is no tool `{}`", wanted.tool));
    };
    if let Err(problem) = tool.schema.check(&wanted.arguments) {
        return denied(format!("the arguments do not fit: {problem}"));
    }
    let request = RunRequest {
        tenant: wanted.tenant.clone(),
        actor: wanted.actor.clone(),
        task: wanted.task.clone(),
        payload: json!({}),
        roles: wanted.roles.iter().cloned().collect(),
    };
    let mut totals = WindowTotals::new();
    for window in desk.policy.windows() {
        let said = wanted.windows.iter().find(|(name, _)| *name == window.name);
        totals.insert(window.name.clone(), said.map_or(0, |(_, total)| u128::from(*total)));
    }
    let question = PolicyQuestion {
        request: &request,
        tool: &wanted.tool,
        arguments: &wanted.arguments,
        effect: tool.effect,
        totals: &Totals { steps: wanted.steps, tokens: 0, cost_micro_usd: wanted.cost },
        history: &History { before: others(&wanted.before), planned: others(&wanted.planned) },
        windows: &totals,
        tightening: wanted.tighten,
    };
    judge(&desk.policy, &question)
}

fn others(calls: &[OneCall]) -> Vec<OtherCall<'_>> {
    let detail = Detail::Whole;
    calls.iter().map(|OneCall { tool, arguments }| OtherCall { tool, arguments, detail }).collect()
}

fn call(text: &str) -> Result<OneCall, String> {
    let (tool, of) = text.split_once('=').ok_or("write TOOL=JSON")?;
    Ok(OneCall { tool: tool.parse().map_err(|error: InvalidId| error.to_string())?, arguments: arguments(of)? })
}

fn counted(text: &str) -> Result<(WindowName, u64), String> {
    let (name, number) = text.split_once('=').ok_or("write NAME=NUMBER")?;
    let name = name.parse().map_err(|error: InvalidWindow| error.to_string())?;
    Ok((name, number.parse().map_err(|_| format!("`{number}` is not a whole number"))?))
}

fn environment(text: &str) -> Result<Environment, String> {
    let all = [Environment::Dev, Environment::Staging, Environment::Production];
    all.into_iter().find(|one| one.name() == text).ok_or_else(|| "use dev, staging or production".to_owned())
}

fn tightening(text: &str) -> Result<Tightening, String> {
    Tightening::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| "use none, approve or deny".to_owned())
}

fn arguments(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}
