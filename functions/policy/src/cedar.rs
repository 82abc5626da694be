//! Deciding by Cedar.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, ParseErrors, Request, RestrictedExpression, Schema, ValidationMode, ValidationResult, Validator,
};
use sha2::{Digest as _, Sha256};
use windlass::{
    agent::{
        history::OtherCall,
        policy::{Policy, PolicyQuestion, Reminder, Ruling},
        tool::ToolSpec,
    },
    config::Environment,
    ids::{Actor, Role, Tenant, ToolName},
    run::{entry::Decision, request::RunRequest},
    windows::Window,
};

use crate::{
    arguments::Shape,
    memory, schema,
    text::{PolicyErrors, PolicyProblem, PolicyText, Rule, Rules},
};

/// The separator of tenant and actor in an actor's name: no name contains it.
const OF_TENANT: char = '#';

/// What goes with the text of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTerms {
    /// Where the agent runs.
    pub environment: Environment,
    /// How long an approval stays open.
    pub approval_expires_after: Duration,
    /// Who says whether a call in doubt took effect, and approves what the controls want approved.
    pub doubt_role: Role,
    /// How its approvals are reminded of.
    pub reminder: Option<Reminder>,
}

/// A policy that has been held against the tools.
pub struct CedarPolicy {
    rules: Rules,
    schema: Schema,
    shapes: BTreeMap<ToolName, Shape>,
    /// What can be added up of the tools that are remembered.
    sums: BTreeMap<ToolName, Shape>,
    windows: Vec<Window>,
    types: Types,
    askers: Mutex<HashMap<Asker, Arc<Entities>>>,
    terms: PolicyTerms,
    version: String,
    warnings: Vec<PolicyProblem>,
}

/// Rules that were held against a schema.
struct Held {
    schema: Schema,
    result: ValidationResult,
}

impl Held {
    fn against(
        rules: &Rules,
        shapes: &BTreeMap<ToolName, Shape>,
        remembered: &BTreeSet<ToolName>,
        windows: &[Window],
    ) -> Result<Held, PolicyErrors> {
        let schema = schema::schema(shapes, remembered, windows).map_err(|error| of_tools(&error))?;
        let result = Validator::new(schema.clone()).validate(&rules.set, ValidationMode::Strict);
        Ok(Held { schema, result })
    }
}

fn of_tools(error: &dyn std::fmt::Display) -> PolicyProblem {
    let message = format!("the tools have no schema for policies: {error}");
    PolicyProblem { file: "tools".to_owned(), line: None, message }
}

/// The types of a policy's entities. Cedar parses a type's name with its grammar, which takes longer than deciding does.
struct Types {
    action: EntityTypeName,
    actor: EntityTypeName,
    effect: EntityTypeName,
    environment: EntityTypeName,
    tenant: EntityTypeName,
    tightening: EntityTypeName,
}

impl Types {
    fn new() -> Result<Types, Box<ParseErrors>> {
        let named = |name: &str| name.parse().map_err(Box::new);
        Ok(Types {
            action: named("Action")?,
            actor: named("Actor")?,
            effect: named("Effect")?,
            environment: named("Environment")?,
            tenant: named("Tenant")?,
            tightening: named("Tightening")?,
        })
    }
}

/// Whose call is judged, and for which task. Cedar's picture of them is the same for every call of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asker {
    tenant: Tenant,
    actor: Actor,
    task: String,
    roles: BTreeSet<Role>,
}

/// How many askers are remembered: more than the runs of some batches, and less than a megabyte.
const ASKERS_MAX: usize = 256;

/// Whether a rule names a tool whose arguments nobody knows yet, since its server is away. Then the rule cannot be held against them; no
/// call of such a tool is judged, and a rule that cannot be evaluated for another one denies.
fn is_about(rules: &Rules, id: &cedar_policy::PolicyId, unknown: &HashSet<&str>) -> bool {
    let named = |action: &EntityUid| unknown.contains(action.id().unescaped());
    match rules.set.policy(id).map(cedar_policy::Policy::action_constraint) {
        Some(ActionConstraint::Eq(action)) => named(&action),
        Some(ActionConstraint::In(actions)) => actions.iter().any(named),
        Some(ActionConstraint::Any) | None => false,
    }
}

/// Why Cedar was not asked, or could not say.
type Unjudged = String;

impl CedarPolicy {
    /// Takes on the rules of `texts` for an agent with `tools`.
    ///
    /// # Errors
    /// Everything in the text that does not parse, or else that does not fit the tools.
    pub fn load<'a>(
        texts: &[PolicyText],
        tools: impl IntoIterator<Item = &'a ToolSpec>,
        terms: PolicyTerms,
    ) -> Result<CedarPolicy, PolicyErrors> {
        let rules = Rules::parse(texts)?;
        let tools: Vec<&ToolSpec> = tools.into_iter().collect();
        let unknown = tools.iter().filter(|tool| !tool.schema.is_known()).map(|tool| tool.name.as_str()).collect();
        let shapes = schema::shapes(tools.iter().copied());
        let windows = memory::windows(&rules, texts, &tools, &shapes).map_err(|problems| PolicyErrors { problems })?;
        // What the text does not name it cannot look at: most policies remember few tools of many.
        let named = |tool: &&ToolName| texts.iter().any(|text| text.text.contains(tool.as_str()));
        let mut remembered: BTreeSet<ToolName> = shapes.keys().filter(named).cloned().collect();
        let mut held = Held::against(&rules, &shapes, &remembered, &windows)?;
        if !held.result.validation_passed() && remembered.len() < shapes.len() {
            // It may name one in another way, and what is wrong is told with all that is there.
            remembered = shapes.keys().cloned().collect();
            held = Held::against(&rules, &shapes, &remembered, &windows)?;
        }
        let place = |id: &cedar_policy::PolicyId| rules.by_id.get(AsRef::<str>::as_ref(id));
        let at = |rule: Option<&Rule>| rule.map_or((0, None), |rule| (rule.text, rule.offset));
        let said = |error: &cedar_policy::ValidationError| {
            let (text, offset) = at(place(error.policy_id()));
            texts[text].said(error, offset)
        };
        let (excused, errors): (Vec<_>, Vec<_>) =
            held.result.validation_errors().partition(|error| is_about(&rules, error.policy_id(), &unknown));
        let mut problems: Vec<PolicyProblem> = errors.into_iter().map(said).collect();
        if !problems.is_empty() {
            problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            return Err(PolicyErrors { problems });
        }
        let warned = held.result.validation_warnings().map(|warning| {
            let (text, offset) = at(place(warning.policy_id()));
            texts[text].said(warning, offset)
        });
        let warnings = warned.chain(excused.into_iter().map(said)).collect();
        Ok(CedarPolicy {
            version: version(texts),
            warnings,
            sums: remembered.iter().filter_map(|tool| Some((tool.clone(), shapes.get(tool)?.sums()))).collect(),
            windows,
            rules,
            schema: held.schema,
            shapes,
            types: Types::new().map_err(|error| of_tools(&error))?,
            askers: Mutex::default(),
            terms,
        })
    }

    /// What looks wrong with the text and is not an error.
    pub fn warnings(&self) -> &[PolicyProblem] {
        &self.warnings
    }

    /// The names of all rules, as they stand in the text.
    pub fn rules(&self) -> Vec<&str> {
        let mut rules: Vec<_> = self.rules.by_id.iter().collect();
        rules.sort_by_key(|(_, rule)| rule.place);
        rules.into_iter().map(|(id, _)| id.as_str()).collect()
    }

    fn request(&self, question: &PolicyQuestion<'_>) -> Result<(Request, Arc<Entities>), Unjudged> {
        let shape = self.shapes.get(question.tool).ok_or_else(|| format!("no rule permits `{}`", question.tool))?;
        let arguments = shape.express(question.arguments).map_err(|unfit| unfit.to_string())?;
        let (asked, used) = (question.request, question.totals);
        let long = |number: u64| RestrictedExpression::new_long(i64::try_from(number).unwrap_or(i64::MAX));
        let types = &self.types;
        let word = |of: &EntityTypeName, name: &str| RestrictedExpression::new_entity_uid(uid(of, name));
        let calls = |others: &[OtherCall<'_>]| memory::calls(&self.sums, others).map_err(|unfit| unfit.to_string());
        let context = Context::from_pairs([
            ("arguments".to_owned(), arguments),
            ("server".to_owned(), RestrictedExpression::new_string(server_of(question.tool).to_owned())),
            ("effect".to_owned(), word(&types.effect, schema::effect_name(question.effect))),
            ("environment".to_owned(), word(&types.environment, self.terms.environment.name())),
            ("tightening".to_owned(), word(&types.tightening, question.tightening.name())),
            ("steps".to_owned(), long(used.steps.into())),
            ("tokens".to_owned(), long(used.tokens)),
            ("cost_micro_usd".to_owned(), long(used.cost_micro_usd)),
            ("run".to_owned(), calls(&question.history.before)?),
            ("plan".to_owned(), calls(&question.history.planned)?),
            ("windows".to_owned(), self.counted(question)?),
        ]);
        let context = context.map_err(|error| format!("the arguments cannot be judged: {error}"))?;
        let tenant = uid(&types.tenant, asked.tenant.as_str());
        let actor = uid(&types.actor, &format!("{}{OF_TENANT}{}", asked.tenant, asked.actor));
        let entities = self.entities(asked, &tenant, &actor)?;
        let action = uid(&types.action, question.tool.as_str());
        let request = Request::new(actor, action, tenant, context, Some(&self.schema));
        Ok((request.map_err(|error| format!("the call cannot be judged: {error}"))?, entities))
    }

    /// What the windows of the call's tool have counted. One that is not known must not count as empty.
    fn counted(&self, question: &PolicyQuestion<'_>) -> Result<RestrictedExpression, Unjudged> {
        let of_tool = self.windows.iter().filter(|window| window.tool == *question.tool);
        let total = |window: &Window| {
            let total =
                question.windows.get(&window.name).ok_or_else(|| format!("the window `{window}` is not known"))?;
            let long = RestrictedExpression::new_long(i64::try_from(*total).unwrap_or(i64::MAX));
            Ok((window.name.to_string(), long))
        };
        memory::record(of_tool.map(total).collect::<Result<Vec<_>, Unjudged>>()?).map_err(|unfit| unfit.to_string())
    }

    /// Who asks, as Cedar knows them: remembered, since building and checking them takes as long as deciding.
    fn entities(&self, asked: &RunRequest, tenant: &EntityUid, actor: &EntityUid) -> Result<Arc<Entities>, Unjudged> {
        let RunRequest { tenant: of, actor: name, task, roles, .. } = asked;
        let asker = Asker { tenant: of.clone(), actor: name.clone(), task: task.to_string(), roles: roles.clone() };
        let mut askers = self.askers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = askers.get(&asker) {
            return Ok(Arc::clone(known));
        }
        let roles = roles.iter().map(|role| RestrictedExpression::new_string(role.to_string()));
        let attributes = HashMap::from([
            ("roles".to_owned(), RestrictedExpression::new_set(roles)),
            ("tenant".to_owned(), RestrictedExpression::new_entity_uid(tenant.clone())),
            ("name".to_owned(), RestrictedExpression::new_string(asked.actor.to_string())),
            ("agent".to_owned(), RestrictedExpression::new_string(asked.task.to_string())),
        ]);
        let parents = HashSet::from([tenant.clone()]);
        let known = Entity::new(actor.clone(), attributes, parents).map_err(|error| error.to_string())?;
        let entities = Entities::from_entities([known], Some(&self.schema)).map_err(|error| error.to_string())?;
        let entities = Arc::new(entities);
        if askers.len() >= ASKERS_MAX {
            askers.clear();
        }
        askers.insert(asker, Arc::clone(&entities));
        Ok(entities)
    }

    /// The rules that decided, as they stand in the text.
    fn deciding<'a>(&'a self, ids: impl Iterator<Item = &'a cedar_policy::PolicyId>) -> Vec<(&'a str, &'a Rule)> {
        let known = ids.filter_map(|id| self.rules.by_id.get_key_value(AsRef::<str>::as_ref(id)));
        let mut rules: Vec<(&str, &Rule)> = known.map(|(id, rule)| (id.as_str(), rule)).collect();
        rules.sort_by_key(|(_, rule)| rule.place);
        rules
    }

    fn rule(&self, question: &PolicyQuestion<'_>) -> Result<Ruling, Unjudged> {
        let (request, entities) = self.request(question)?;
        let response = Authorizer::new().is_authorized(&request, &self.rules.set, &entities);
        // Cedar skips a rule that it cannot evaluate; a skipped `forbid` must not let anything through.
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(format!("a rule cannot be evaluated: {error}"));
        }
        let deciding = self.deciding(response.diagnostics().reason());
        let policies = deciding.iter().map(|(id, _)| (*id).to_owned()).collect();
        let because = |(id, rule): &(&str, &Rule), verb: &str| {
            rule.reason.clone().unwrap_or_else(|| format!("the rule `{id}` {verb} it"))
        };
        let decision = match response.decision() {
            CedarDecision::Allow => {
                let approval = deciding.iter().find_map(|one| one.1.approval.clone().map(|role| (role, one)));
                match (approval, deciding.first()) {
                    (Some((role, one)), _) => Decision::RequireApproval { role, reason: because(one, "permits") },
                    (None, Some(one)) => Decision::Allow { reason: because(one, "permits") },
                    (None, None) => return Err("no rule is named".to_owned()),
                }
            }
            CedarDecision::Deny => {
                let reason = match deciding.first() {
                    Some(one) => because(one, "forbids"),
                    None => format!("no rule permits `{}`", question.tool),
                };
                Decision::Deny { reason }
            }
        };
        Ok(Ruling { decision, policies })
    }
}

impl Policy for CedarPolicy {
    fn version(&self) -> &str {
        &self.version
    }

    fn approval_expires_after(&self) -> Duration {
        self.terms.approval_expires_after
    }

    fn reminder(&self) -> Option<Reminder> {
        self.terms.reminder.clone()
    }

    fn windows(&self) -> &[Window] {
        &self.windows
    }

    fn doubt_role(&self) -> Role {
        self.terms.doubt_role.clone()
    }

    fn decide(&self, question: &PolicyQuestion<'_>) -> Ruling {
        self.rule(question)
            .unwrap_or_else(|reason| Ruling { decision: Decision::Deny { reason }, policies: Vec::new() })
    }
}

fn uid(of: &EntityTypeName, name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(name))
}

/// The first 12 hexadecimal digits of SHA-256 over the texts: equal for equal rules, wherever they came from.
fn version(texts: &[PolicyText]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(format!("{}:", text.text.len()));
        hash.update(&text.text);
    }
    let digest: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("cedar-{digest}")
}

/// The server that a tool belongs to: what its name has before the first `/`; empty for the agent's own tools.
fn server_of(tool: &ToolName) -> &str {
    tool.as_str().split_once('/').map_or("", |(server, _)| server)
}
