//! What may be shown of runs: of requests, answers, and each tool's arguments and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Pointer, Redaction};
use crate::{ids::ToolName, run::entry::Entry};

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

    /// With what a tool says of itself.
    pub fn with_tool(mut self, name: ToolName, rule: &ToolRedaction) -> Redactions {
        let known = self.tools.remove(&name).unwrap_or_default();
        let arguments = known.arguments.and(&rule.arguments);
        let answer = known.answer.and(&rule.answer);
        self.tools.insert(name, ToolRedaction { arguments, answer });
        self
    }

    /// A request's payload.
    pub fn request(&self, payload: &Value) -> Value {
        self.request.value(payload)
    }

    /// A run's answer.
    pub fn response(&self, response: &Value) -> Value {
        self.response.value(response)
    }

    /// A call's arguments.
    pub fn arguments(&self, tool: &ToolName, arguments: &Value) -> Value {
        self.tool(Some(tool)).arguments.value(arguments)
    }

    /// What a tool answered.
    pub fn answer(&self, tool: &ToolName, answer: &Value) -> Value {
        self.tool(Some(tool)).answer.value(answer)
    }

    /// A sentence: an error, a reason, a note.
    pub fn text(&self, text: &str) -> String {
        Redaction::STRICT.text(text).into_owned()
    }

    fn tool(&self, name: Option<&ToolName>) -> &ToolRedaction {
        const STRICT: &ToolRedaction = &ToolRedaction { arguments: Redaction::STRICT, answer: Redaction::STRICT };
        name.and_then(|name| self.tools.get(name)).unwrap_or(STRICT)
    }

    /// Whether a journal has to be read from its start: later entries name calls only by number.
    pub fn know_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    /// A journal's entries as JSON.
    ///
    /// Works on the JSON of an event and not on its variants: whatever a later version records is redacted strictly until
    /// somebody says here what of it is needed.
    pub fn journal(&self, entries: &[Entry]) -> Vec<Value> {
        let mut tools = BTreeMap::new();
        entries.iter().map(|entry| self.entry(entry, &mut tools)).collect()
    }

    /// A journal's entries as entries, for whoever draws them.
    ///
    /// # Errors
    /// When what is left of one is no entry any more: a field that names something was taken for a secret.
    pub fn entries(&self, entries: &[Entry]) -> Result<Vec<Entry>, serde_json::Error> {
        self.journal(entries).into_iter().map(serde_json::from_value).collect()
    }

    fn entry(&self, entry: &Entry, tools: &mut BTreeMap<u64, ToolName>) -> Value {
        let events = entry.events.iter().map(|event| match serde_json::to_value(event) {
            Ok(Value::Object(event)) => Value::Object(self.event(&event, tools)),
            _ => Value::Null,
        });
        let events: Vec<Value> = events.collect();
        json!({ "at": entry.at, "writer": entry.writer, "release": entry.release, "events": events })
    }

    fn event(&self, event: &Map<String, Value>, tools: &mut BTreeMap<u64, ToolName>) -> Map<String, Value> {
        let kind = event.get("event").and_then(Value::as_str).unwrap_or_default();
        let tool = event.get("call").and_then(Value::as_u64).and_then(|call| tools.get(&call).cloned());
        let mut shown = Map::new();
        for (name, field) in event {
            let field = match (kind, name.as_str()) {
                ("accepted", "request") => with(field, "payload", |payload| self.request(payload)),
                ("accepted", "trace" | "source" | "limits") | (_, "usage" | "usage_totals") => field.clone(),
                ("planned", "plan") => self.plan(field, tools),
                ("approval_requested", "action") => {
                    let tool = named(&field["tool"]);
                    with(field, "arguments", |arguments| self.tool(tool.as_ref()).arguments.value(arguments))
                }
                ("tool_returned" | "compensated", "outcome") => {
                    let value = with(field, "value", |value| self.tool(tool.as_ref()).answer.value(value));
                    with(&value, "message", |message| Redaction::STRICT.value(message))
                }
                ("responded", "response") => self.response(field),
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

    fn plan(&self, plan: &Value, tools: &mut BTreeMap<u64, ToolName>) -> Value {
        match plan["kind"].as_str() {
            Some("call") => with(plan, "calls", |calls| {
                let calls = calls.as_array().into_iter().flatten().map(|call| {
                    let tool = named(&call["tool"]);
                    if let (Some(id), Some(tool)) = (call["id"].as_u64(), &tool) {
                        tools.insert(id, tool.clone());
                    }
                    with(call, "arguments", |arguments| self.tool(tool.as_ref()).arguments.value(arguments))
                });
                Value::Array(calls.collect())
            }),
            Some("answer") => with(plan, "response", |response| self.response(response)),
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
