//! `windlass policy`: holding a policy against the tools, and trying calls on it. Nothing is written and nothing is connected to.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use step::refund_desk::{
    handbook::{handbook, search},
    ledger::Ledger,
    ledger_in_memory::LedgerInMemory,
    policy::{drills_in, policy, terms},
    tools::{InvalidTool, tools},
};
use windlass::{
    agent::{
        policy::{Policy as _, PolicyQuestion, Ruling, Tightening, judge},
        tool::Tool,
        tool_set::{InvalidToolSet, tool_set},
    },
    clock::SystemClock,
    config::Environment,
    ids::{Actor, InvalidId, Task, Tenant, ToolName},
    run::{entry::Decision, request::RunRequest, state::Totals},
};
use windlass_policy::CedarPolicy;

use crate::{console::Console, failure::Failure, table::Table};

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
  windlass policy explain --tool refund --arguments '{\"order\":\"A-1001\",\"amount_cents\":1}' --tighten deny")]
    Explain(Explain),
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
    tools: BTreeMap<ToolName, Arc<dyn Tool>>,
    policy: CedarPolicy,
}

fn desk(rules: &Rules) -> Result<Desk, Failure> {
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInMemory::default());
    let drills = drills_in(rules.environment);
    let wrong_name = |error: InvalidId| Failure::Usage { message: error.to_string(), hint: SAMPLE_MISTAKE };
    let wrong_tool = |error: InvalidTool| Failure::Usage { message: error.to_string(), hint: SAMPLE_MISTAKE };
    let wrong_set = |error: InvalidToolSet| Failure::Usage { message: error.to_string(), hint: SAMPLE_MISTAKE };
    let own = tools(&ledger, drills).map_err(wrong_tool)?;
    let index = handbook(None).map_err(|error| Failure::Usage { message: error.to_string(), hint: SAMPLE_MISTAKE })?;
    let search = search(&index, Arc::new(SystemClock)).map_err(wrong_tool)?;
    let tools = tool_set(own.into_iter().chain([search])).map_err(wrong_set)?;
    let terms = terms(rules.environment, Duration::ZERO).map_err(wrong_name)?;
    let policy = policy(rules.file.as_deref().map(Path::new), drills, &tools, terms)?;
    Ok(Desk { tools, policy })
}

fn check(rules: &Rules, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let desk = desk(rules)?;
    let (version, names) = (desk.policy.version(), desk.policy.rules());
    let warnings: Vec<String> = desk.policy.warnings().iter().map(ToString::to_string).collect();
    if json {
        return Ok(console.json(&json!({ "version": version, "rules": names, "warnings": warnings }))?);
    }
    for warning in &warnings {
        console.note(format!("warning: {warning}"))?;
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
    if let Err(problem) = tool.check(&wanted.arguments) {
        return denied(format!("the arguments do not fit: {problem}"));
    }
    let request = RunRequest {
        tenant: wanted.tenant.clone(),
        actor: wanted.actor.clone(),
        task: wanted.task.clone(),
        payload: json!({}),
    };
    let question = PolicyQuestion {
        request: &request,
        tool: &wanted.tool,
        arguments: &wanted.arguments,
        effect: tool.spec().effect,
        totals: &Totals { steps: wanted.steps, tokens: 0, cost_micro_usd: wanted.cost },
        tightening: wanted.tighten,
    };
    judge(&desk.policy, &question)
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
