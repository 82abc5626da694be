//! What may be shown of runs: of requests, answers, and each tool's arguments and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Pointer, Redaction};
use crate::{
    agent::redaction::Redaction as OwnRule,
    ids::{ApprovalId, NAME_CHARS_MAX, Task, ToolName},
    run::{
        entry::Entry,
        state::{Call, RunState},
    },
};

/// Fields of events that name who and what, in the words of the kit: they are what a journal is for, and every reader may see
/// the run they belong to.
const NAMES: [&str; 14] = [
    "event",
    "call",
    "attempt",
    "effect",
    "approval",
    "verdict",
    "by",
    "id",
    "digest",
    "role",
    "model",
    "prompt_version",
    "policy_version",
    "deadline",
];

/// Which fields are needed where, so that personal data in them is shown. The default shows none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redactions {
    request: Redaction,
    response: Redaction,
    tools: BTreeMap<ToolName, ToolRedaction>,
}

/// Which fields of a tool are needed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolRedaction {
    /// Of its arguments.
    pub arguments: Redaction,
    /// Of its answers.
    pub answer: Redaction,
}

/// A text that does not say which fields are needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidRedactions {
    /// What is wrong.
    pub problem: String,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    request: Vec<Pointer>,
    response: Vec<Pointer>,
    tools: BTreeMap<ToolName, WrittenTool>,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenTool {
    arguments: Vec<Pointer>,
    answer: Vec<Pointer>,
}

impl Redactions {
    /// Reads `{"request":["/order/email"],"response":[],"tools":{"refund":{"arguments":["/iban"],"answer":[]}}}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Redactions, InvalidRedactions> {
        let wrong = |error: serde_json::Error| InvalidRedactions { problem: error.to_string() };
        // An array would do for a struct otherwise.
        let fields: Map<String, Value> = serde_json::from_str(text).map_err(wrong)?;
        let written: Written = serde_json::from_value(Value::Object(fields)).map_err(wrong)?;
        let tool = |(name, tool): (ToolName, WrittenTool)| {
            let (arguments, answer) = (Redaction::allowing(tool.arguments), Redaction::allowing(tool.answer));
            (name, ToolRedaction { arguments, answer })
        };
        Ok(Redactions {
            request: Redaction::allowing(written.request),
            response: Redaction::allowing(written.response),
            tools: written.tools.into_iter().map(tool).collect(),
        })
    }

    /// A request's payload.
    pub fn request(&self, payload: &Value) -> Value {
        self.request.value(payload)
    }

    /// A run's answer.
    pub fn response(&self, response: &Value) -> Value {
        self.response.value(response)
    }

    /// A call's arguments. What the tool's own rule leaves out is left out whatever is said to be needed.
    pub fn arguments(&self, tool: &ToolName, rule: &OwnRule, arguments: &Value) -> Value {
        self.tool(Some(tool)).arguments.value(&rule.of_arguments(arguments))
    }

    /// A task: whoever asks writes it. A mark within it has no brackets, which names cannot have.
    pub fn task(&self, task: &Task) -> Task {
        let shown = Redaction::STRICT.text(task.as_str()).replace(['[', ']'], "");
        // Marks are made of what a name may have; only a long one has to be cut.
        shown.chars().take(NAME_CHARS_MAX).collect::<String>().parse().unwrap_or_else(|_| task.clone())
    }

    /// A sentence: an error, a reason, a note.
    pub fn text(&self, text: &str) -> String {
        Redaction::STRICT.text(text).into_owned()
    }

    fn tool(&self, name: Option<&ToolName>) -> &ToolRedaction {
        const STRICT: &ToolRedaction = &ToolRedaction { arguments: Redaction::STRICT, answer: Redaction::STRICT };
        name.and_then(|name| self.tools.get(name)).unwrap_or(STRICT)
    }

    /// A journal, to be shown entry by entry from its first.
    pub fn in_order(&self) -> InOrder<'_> {
        InOrder { redactions: self, calls: BTreeMap::new() }
    }

    /// A journal, to be shown entry by entry from anywhere in it: `state` is one that its calls are known in.
    pub fn in_order_with(&self, state: &RunState) -> InOrder<'_> {
        let known = |call: &Call| {
            let planned = Planned { tool: Some(call.tool.clone()), rule: call.redaction.clone() };
            (u64::from(call.id.0), planned)
        };
        InOrder { redactions: self, calls: state.calls.iter().map(known).collect() }
    }

    /// A journal's entries as JSON.
    pub fn journal(&self, entries: &[Entry]) -> Vec<Value> {
        let mut shown = self.in_order();
        entries.iter().map(|entry| shown.entry(entry)).collect()
    }

    /// A journal's entries as entries, for whoever draws them.
    ///
    /// # Errors
    /// When what is left of one is no entry any more: a field that names something was taken for a secret.
    pub fn entries(&self, entries: &[Entry]) -> Result<Vec<Entry>, serde_json::Error> {
        self.journal(entries).into_iter().map(serde_json::from_value).collect()
    }
}

/// Shows the entries of one journal, in order from the first: later entries name calls only by number.
#[derive(Debug)]
pub struct InOrder<'r> {
    redactions: &'r Redactions,
    calls: BTreeMap<u64, Planned>,
}

/// What is known of a call since it was planned.
#[derive(Debug, Clone, Default)]
struct Planned {
    tool: Option<ToolName>,
    rule: OwnRule,
}

impl InOrder<'_> {
    /// The next entry as JSON.
    ///
    /// Works on the JSON of an event and not on its variants: whatever a later version records is redacted strictly until
    /// somebody says here what of it is needed.
    pub fn entry(&mut self, entry: &Entry) -> Value {
        let events = entry.events.iter().map(|event| match serde_json::to_value(event) {
            Ok(Value::Object(event)) => Value::Object(self.event(&event)),
            _ => Value::Null,
        });
        let events: Vec<Value> = events.collect();
        json!({ "at": entry.at, "writer": entry.writer, "release": entry.release, "events": events })
    }

    fn event(&mut self, event: &Map<String, Value>) -> Map<String, Value> {
        let kind = event.get("event").and_then(Value::as_str).unwrap_or_default();
        let known = self.call_of(event);
        let mut shown = Map::new();
        for (name, field) in event {
            let field = match (kind, name.as_str()) {
                ("accepted", "request") => {
                    let field = with(field, "payload", |payload| self.redactions.request(payload));
                    with(&field, "task", |task| self.task(task))
                }
                ("accepted", "trace" | "source" | "limits") | (_, "usage" | "usage_totals") => field.clone(),
                ("planned", "plan") => self.plan(field),
                ("approval_requested", "action") => with(field, "arguments", |arguments| {
                    let known = Planned { tool: named(&field["tool"]), rule: known.rule.clone() };
                    self.arguments(&known, arguments)
                }),
                ("tool_returned" | "compensated", "outcome") => {
                    let value = with(field, "value", |value| self.answer(&known, value));
                    with(&value, "message", |message| Redaction::STRICT.value(message))
                }
                ("answered_from_cache", "value") => self.answer(&known, field),
                ("answered_from_cache", "given_at") => field.clone(),
                // Made by a function over what is shown; its letters may look like a credential.
                ("approval_decided", "signature") => field.clone(),
                ("responded", "response") => self.redactions.response(field),
                (_, name) if NAMES.contains(&name) => field.clone(),
                (_, name) => {
                    let alone = Value::Object(Map::from_iter([(name.to_owned(), field.clone())]));
                    Redaction::STRICT.value(&alone)[name].clone()
                }
            };
            shown.insert(name.clone(), field);
        }
        shown
    }

    fn task(&self, task: &Value) -> Value {
        match Task::deserialize(task) {
            Ok(task) => json!(self.redactions.task(&task)),
            Err(_) => Redaction::STRICT.value(task),
        }
    }

    /// The call that an event is about, by its number or by that of its approval.
    fn call_of(&self, event: &Map<String, Value>) -> Planned {
        let approval = || event.get("id")?.as_str()?.parse::<ApprovalId>().ok().map(|id| u64::from(id.call.0));
        let call = event.get("call").and_then(Value::as_u64).or_else(approval);
        call.and_then(|call| self.calls.get(&call)).cloned().unwrap_or_default()
    }

    fn arguments(&self, known: &Planned, arguments: &Value) -> Value {
        self.redactions.tool(known.tool.as_ref()).arguments.value(&known.rule.of_arguments(arguments))
    }

    fn answer(&self, known: &Planned, answer: &Value) -> Value {
        self.redactions.tool(known.tool.as_ref()).answer.value(&known.rule.of_answer(answer))
    }

    fn plan(&mut self, plan: &Value) -> Value {
        match plan["kind"].as_str() {
            Some("call") => with(plan, "calls", |calls| {
                let calls = calls.as_array().into_iter().flatten().map(|call| {
                    let rule = OwnRule::deserialize(&call["redaction"]).unwrap_or_default();
                    let known = Planned { tool: named(&call["tool"]), rule };
                    let mut shown = with(call, "arguments", |arguments| self.arguments(&known, arguments));
                    // Only its provider can read it.
                    shown.as_object_mut().and_then(|shown| shown.remove("echo"));
                    if let Some(id) = call["id"].as_u64() {
                        self.calls.insert(id, known);
                    }
                    shown
                });
                Value::Array(calls.collect())
            }),
            Some("answer") => with(plan, "response", |response| self.redactions.response(response)),
            _ => Redaction::STRICT.value(plan),
        }
    }
}

fn named(name: &Value) -> Option<ToolName> {
    name.as_str().and_then(|name| name.parse().ok())
}

/// `object` with one field replaced, if it has it.
fn with(object: &Value, field: &str, replace: impl FnOnce(&Value) -> Value) -> Value {
    let mut object = object.clone();
    if let Some(found) = object.get_mut(field) {
        *found = replace(found);
    }
    object
}
