//! What a model said, whichever provider it is behind, and what it proposes by that.

use serde_json::{Value, json};
use windlass::{
    agent::{
        model::{ModelError, Proposal, ProposedCall},
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
    /// The tool, by the name that the provider knows.
    pub name: String,
    /// Its arguments, or what is wrong with them.
    pub arguments: Result<Value, String>,
}

/// How a reply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It is whole.
    Whole,
    /// It was cut off, because it became too long.
    CutOff,
    /// The model, or its provider, will not answer.
    Declined {
        /// What it said.
        message: String,
    },
}

impl Reply {
    /// What the model proposes by it.
    ///
    /// # Errors
    /// When the model declines.
    pub fn proposal(self, tools: &[&ToolSpec]) -> Result<Proposal, ModelError> {
        match self.end {
            End::Declined { message } => {
                return Err(ModelError::Refused { message: excerpt(&message, QUOTED_BYTES_MAX) });
            }
            End::CutOff => return Ok(unusable("it was cut off because it became too long; be shorter")),
            End::Whole => {}
        }
        if self.calls.is_empty() {
            return Ok(match self.text.trim() {
                "" => unusable("it is empty: call a tool, or answer with a JSON object"),
                text => Proposal::Respond(structured(text)),
            });
        }
        let calls: Result<Vec<ProposedCall>, String> =
            self.calls.into_iter().map(|call| proposed(call, tools)).collect();
        Ok(calls.map_or_else(unusable, Proposal::Call))
    }
}

fn unusable(problem: impl Into<String>) -> Proposal {
    Proposal::Unusable { problem: problem.into() }
}

fn proposed(call: ReplyCall, tools: &[&ToolSpec]) -> Result<ProposedCall, String> {
    let quoted = excerpt(&call.name, QUOTED_BYTES_MAX);
    let Some(tool) = tool_of(&call.name, tools) else { return Err(format!("there is no tool `{quoted}`")) };
    match call.arguments {
        Ok(arguments @ Value::Object(_)) => Ok(ProposedCall { tool: tool.clone(), arguments }),
        Ok(_) => Err(format!("the arguments of `{quoted}` are not a JSON object")),
        Err(problem) => {
            Err(format!("the arguments of `{quoted}` cannot be read: {}", excerpt(&problem, QUOTED_BYTES_MAX)))
        }
    }
}

/// The object that a text is, within a code fence or not; an object around the text when it is none.
fn structured(text: &str) -> Value {
    let fenced = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = fenced.map(|rest| rest.strip_prefix("json").unwrap_or(rest));
    match json::read_as_text(inner.unwrap_or(text)) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({ "text": text }),
    }
}

/// Arguments that a provider carries as text.
pub fn parsed_arguments(text: &str) -> Result<Value, String> {
    match text.trim() {
        "" => Ok(json!({})),
        text => json::read(text).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::tests::tool;

    fn reply(text: &str, calls: Vec<ReplyCall>, end: End) -> Reply {
        Reply { text: text.to_owned(), calls, end, tokens: None }
    }

    #[test]
    fn a_text_becomes_the_object_that_it_is_or_an_object_around_it() {
        for (text, wanted) in [
            (r#"{"a":1}"#, json!({ "a": 1 })),
            ("```json\n{\"a\":1}\n```", json!({ "a": 1 })),
            ("```\n{\"a\":1}\n```", json!({ "a": 1 })),
            ("Done.", json!({ "text": "Done." })),
            ("[1]", json!({ "text": "[1]" })),
        ] {
            let proposal = reply(text, Vec::new(), End::Whole).proposal(&[]);
            assert_eq!(proposal, Ok(Proposal::Respond(wanted)), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_unusable_and_says_why() {
        let known = tool("read");
        let calling = |name: &str, arguments| {
            let call = ReplyCall { name: name.to_owned(), arguments };
            reply("", vec![call], End::Whole)
        };
        for (reply, why) in [
            (reply(" \n", Vec::new(), End::Whole), "empty"),
            (reply("{\"a\":", Vec::new(), End::CutOff), "cut off"),
            (calling("write", Ok(json!({}))), "there is no tool `write`"),
            (calling("read", Ok(json!([1]))), "are not a JSON object"),
            (calling("read", parsed_arguments("{\"a\":")), "cannot be read"),
        ] {
            match reply.proposal(&[&known]) {
                Ok(Proposal::Unusable { problem }) => assert!(problem.contains(why), "{problem}"),
                other => panic!("{why}: {other:?}"),
            }
        }
    }

    #[test]
    fn one_bad_call_spoils_the_plan() {
        let known = tool("read");
        let good = ReplyCall { name: "read".into(), arguments: Ok(json!({})) };
        let bad = ReplyCall { name: "read".into(), arguments: Ok(json!(1)) };
        let both = reply("", vec![good.clone(), bad], End::Whole).proposal(&[&known]);
        assert!(matches!(both, Ok(Proposal::Unusable { .. })), "{both:?}");
        let two = reply("", vec![good.clone(), good], End::Whole).proposal(&[&known]);
        assert!(matches!(two, Ok(Proposal::Call(calls)) if calls.len() == 2));
    }
}
