//! What a model said, whichever provider it is behind, and what it proposes by that.

use serde_json::{Value, json};
use tracing::warn;
use windlass::{
    agent::{
        model::{ECHO_BYTES_MAX, Echo, Proposal, ProposedCall},
        tool::ToolSpec,
    },
    json,
};

use crate::{conversation::excerpt, tool_names::tool_of};

/// How much of what a model said is quoted back to it.
const QUOTED_BYTES_MAX: usize = 200;

/// What a model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The text, if there is any.
    pub text: String,
    /// The calls, in order.
    pub calls: Vec<ReplyCall>,
    /// How it ended.
    pub end: End,
    /// Tokens read and written, if the provider said.
    pub tokens: Option<Tokens>,
}

/// Tokens of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// Read.
    pub input: u64,
    /// Written.
    pub output: u64,
}

/// A call as a model wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyCall {
    /// The provider's own id for it, if it gave one.
    pub id: Option<String>,
    /// The tool, by the name that the provider knows.
    pub name: String,
    /// Its arguments, or what is wrong with them.
    pub arguments: Result<Value, String>,
    /// What the provider wants back with it.
    pub echo: Option<Value>,
}

/// How a reply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It is whole.
    Whole,
    /// It is whole, and the model waits for its calls to be made.
    ToCall,
    /// Nothing is said that we know: it may be whole.
    Unsaid,
    /// It was cut off, because it became too long.
    CutOff,
    /// What the model wrote could not be read by its provider.
    Broken {
        /// What the provider says.
        problem: String,
    },
    /// The model, or its provider, will not answer.
    Declined {
        /// What it said.
        message: String,
    },
}

impl Reply {
    /// What the model, which entries record as `model`, proposes by it.
    pub fn proposal(self, tools: &[&ToolSpec], model: &str) -> Proposal {
        match &self.end {
            End::Declined { message } => {
                return Proposal::Decline { message: excerpt(message, QUOTED_BYTES_MAX) };
            }
            End::CutOff => return unusable("it was cut off because it became too long; be shorter"),
            End::Broken { problem } => {
                return unusable(format!("your provider could not read it: {}", excerpt(problem, QUOTED_BYTES_MAX)));
            }
            End::ToCall if self.calls.is_empty() => {
                return unusable(
                    "it announces a tool call and holds none: make the call, or answer with a JSON object",
                );
            }
            End::Whole | End::ToCall | End::Unsaid => {}
        }
        if self.calls.is_empty() {
            return answered(&self.text, &self.end, tools);
        }
        let calls: Result<Vec<ProposedCall>, String> =
            once_each(self.calls).into_iter().map(|call| proposed(call, tools, model)).collect();
        calls.map_or_else(unusable, |calls| Proposal::Call(bounded(calls)))
    }
}

fn unusable(problem: impl Into<String>) -> Proposal {
    Proposal::Unusable { problem: problem.into() }
}

/// The same call under the same id is one call: some servers send the last part of a stream twice. Different calls under one id stay two,
/// and so do equal calls under two ids.
fn once_each(calls: Vec<ReplyCall>) -> Vec<ReplyCall> {
    let same = |one: &ReplyCall, other: &ReplyCall| {
        one.id.is_some() && (&one.id, &one.name, &one.arguments) == (&other.id, &other.name, &other.arguments)
    };
    calls.into_iter().fold(Vec::new(), |mut kept: Vec<ReplyCall>, call| {
        if !kept.iter().any(|known| same(known, &call)) {
            kept.push(call);
        }
        kept
    })
}

fn proposed(call: ReplyCall, tools: &[&ToolSpec], model: &str) -> Result<ProposedCall, String> {
    let quoted = excerpt(&call.name, QUOTED_BYTES_MAX);
    let Some(tool) = tool_of(&call.name, tools) else { return Err(format!("there is no tool `{quoted}`")) };
    match call.arguments {
        Ok(arguments @ Value::Object(_)) => {
            let echo = call.echo.map(|content| Echo { model: model.to_owned(), content });
            Ok(ProposedCall { tool: tool.clone(), arguments, echo })
        }
        Ok(_) => Err(format!("the arguments of `{quoted}` are not a JSON object")),
        Err(problem) => {
            Err(format!("the arguments of `{quoted}` cannot be read: {}", excerpt(&problem, QUOTED_BYTES_MAX)))
        }
    }
}

/// What a provider wants back is part of the plan's entry, so it is bounded. Half of it is of no use, and a provider that misses it says so.
fn bounded(mut calls: Vec<ProposedCall>) -> Vec<ProposedCall> {
    let bytes: usize = calls.iter().flat_map(|call| &call.echo).map(|echo| echo.content.to_string().len()).sum();
    if bytes > ECHO_BYTES_MAX {
        warn!(bytes, "what the provider wants back with its calls is not kept: at most {ECHO_BYTES_MAX} bytes are");
        calls.iter_mut().for_each(|call| call.echo = None);
    }
    calls
}

/// What a text without calls proposes.
fn answered(text: &str, end: &End, tools: &[&ToolSpec]) -> Proposal {
    let text = without_thoughts(text.trim());
    if text.is_empty() {
        return unusable("it is empty: call a tool, or answer with a JSON object");
    }
    if let Some(object) = object(text) {
        return if is_call(&object, tools) { unusable(WRITTEN_CALL) } else { Proposal::Respond(object) };
    }
    if CALL_TAGS.iter().any(|tag| text.contains(tag)) {
        return unusable(WRITTEN_CALL);
    }
    if *end == End::Unsaid && text.starts_with('{') {
        return unusable("it breaks off in the middle of a JSON object");
    }
    let fenced = fences(text).filter_map(object).last();
    match fenced {
        Some(object) if is_call(&object, tools) => unusable(WRITTEN_CALL),
        Some(object) => Proposal::Respond(object),
        None => Proposal::Respond(json!({ "text": text })),
    }
}

/// What is said about a call that was written as text.
const WRITTEN_CALL: &str = "it writes a tool call as text, which calls nothing: make the call as a tool call";

/// How models write calls that their server should have read: Hermes and Qwen, Llama, Mistral, DeepSeek, Anthropic's older form.
const CALL_TAGS: [&str; 8] = [
    "<tool_call>",
    "<|tool_call|>",
    "<function=",
    "<function_call",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "<｜tool▁call",
    "<invoke name=",
];

/// Whether an object is a call of one of the tools, as servers write it in JSON.
fn is_call(object: &Value, tools: &[&ToolSpec]) -> bool {
    let has_arguments = object["arguments"].is_object() || object["parameters"].is_object();
    let nothing_else = object.as_object().is_some_and(|fields| {
        fields.keys().all(|name| ["name", "arguments", "parameters", "type", "id"].contains(&name.as_str()))
    });
    let named = object["name"].as_str().is_some_and(|name| tool_of(name, tools).is_some());
    named && has_arguments && nothing_else
}

/// How models that think aloud mark where they do.
const THOUGHTS: [(&str, &str); 3] =
    [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>")];

/// A text without the thoughts that it begins with; nothing of it when they do not end. Some servers take away the first mark and leave
/// the last.
fn without_thoughts(text: &str) -> &str {
    let mut text = text;
    while let Some((begin, end)) = THOUGHTS.iter().find(|(begin, _)| text.starts_with(begin)) {
        text = text[begin.len()..].split_once(end).map_or("", |(_, rest)| rest.trim_start());
    }
    let left = THOUGHTS.iter().find_map(|(begin, end)| {
        let (before, after) = text.split_once(end)?;
        (!before.contains(begin) && object(text).is_none() && object(after).is_some()).then_some(after.trim_start())
    });
    left.unwrap_or(text)
}

fn object(text: &str) -> Option<Value> {
    json::read_as_text(text.trim()).ok().filter(Value::is_object)
}

/// What stands in the code fences of a text.
fn fences(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.split("```").skip(1).step_by(2);
    inside.map(|fenced| match fenced.split_once('\n') {
        Some((language, rest)) if language.trim().bytes().all(|b| b.is_ascii_alphanumeric()) => rest,
        _ => fenced.strip_prefix("json").unwrap_or(fenced),
    })
}

/// Arguments that a provider carries as text.
pub fn parsed_arguments(text: &str) -> Result<Value, String> {
    match text.trim() {
        "" => Ok(json!({})),
        text => json::read(text).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests;
