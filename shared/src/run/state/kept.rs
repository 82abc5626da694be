//! What is remembered of calls: of the newest everything, of older ones what they were.
//!
//! A model is shown no more than the newest, and a state is held in memory ten times in a worker and stored in every snapshot. The
//! journal keeps everything.

use serde_json::{Map, Value, json};

use super::{Call, CallStatus, Detail, RunState};
use crate::{json_bounds::kept_bytes, redaction::cut};

/// The most bytes of arguments and answers of settled calls that are remembered whole: what models are shown
/// (`HISTORY_BYTES_MAX` of `windlass-providers`).
pub const CALLS_BYTES_MAX: usize = 256 * 1024;

/// The most bytes of the arguments of an older call, and of its answer.
pub const SHORT_ARGUMENTS_BYTES: usize = 256;
const SHORT_ANSWER_BYTES: usize = 64;

/// The most characters of one text in them, and of an older call's message.
const SHORT_TEXT_CHARS: usize = 64;
const SHORT_MESSAGE_CHARS: usize = 200;

impl RunState {
    /// Forgets what the oldest calls were asked and have answered, once the newer ones take up the room. Called when a plan is done, so
    /// that it depends on the events alone.
    pub(super) fn shorten_the_oldest(&mut self) {
        let mut left = CALLS_BYTES_MAX;
        for call in self.calls.iter_mut().rev() {
            if call.detail == Detail::Short {
                break;
            }
            match left.checked_sub(call.bytes()) {
                Some(rest) => left = rest,
                None => {
                    // Nothing older is remembered whole either.
                    left = 0;
                    call.shorten();
                    if call.needs_its_arguments() {
                        self.undo_bytes += kept_bytes(&call.arguments) as u64;
                    }
                }
            }
        }
    }
}

impl Call {
    fn bytes(&self) -> usize {
        let outcome = match &self.status {
            CallStatus::Succeeded { value } => kept_bytes(value),
            CallStatus::Failed { message } | CallStatus::Doubtful { message } | CallStatus::Standing { message } => {
                message.len()
            }
            _ => 0,
        };
        let echo = self.echo.as_ref().map_or(0, |echo| kept_bytes(&echo.content));
        kept_bytes(&self.arguments) + outcome + echo
    }

    fn shorten(&mut self) {
        self.detail = Detail::Short;
        self.suspected = Vec::new();
        self.echo = None;
        if let Some(failing) = &mut self.failing {
            failing.message = cut(&failing.message, SHORT_MESSAGE_CHARS).to_owned();
        }
        if !self.needs_its_arguments() {
            self.arguments = short_arguments(&self.arguments);
        }
        match &mut self.status {
            CallStatus::Succeeded { value } => {
                let bytes = kept_bytes(value);
                if bytes > SHORT_ANSWER_BYTES {
                    *value = json!({ "left_out": format!("about {bytes} bytes") });
                }
            }
            CallStatus::Failed { message } | CallStatus::Doubtful { message } | CallStatus::Standing { message } => {
                *message = cut(message, SHORT_MESSAGE_CHARS).to_owned();
            }
            _ => {}
        }
    }
}

/// The field that says what of shortened arguments is not there.
pub const LEFT_OUT: &str = "left_out";

/// What a call was about, in at most [`SHORT_ARGUMENTS_BYTES`]: its scalar fields, numbers first, long texts cut. Policies add numbers up.
pub fn short_arguments(arguments: &Value) -> Value {
    if kept_bytes(arguments) <= SHORT_ARGUMENTS_BYTES && !arguments.is_object() {
        return arguments.clone();
    }
    let Value::Object(fields) = arguments else {
        return json!({ LEFT_OUT: format!("about {} bytes", kept_bytes(arguments)) });
    };
    let (mut short, mut bytes, mut left_out) = (Map::new(), 2, 0);
    let (numbers, others): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, field)| field.is_number());
    for (name, field) in numbers.into_iter().chain(others) {
        let field = match field {
            Value::String(text) => Value::String(cut(text, SHORT_TEXT_CHARS).to_owned()),
            Value::Array(_) | Value::Object(_) if field.to_string().len() > SHORT_TEXT_CHARS => Value::Null,
            field => field.clone(),
        };
        let more = name.len() + field.to_string().len() + 4;
        if bytes + more > SHORT_ARGUMENTS_BYTES || (field.is_null() && !fields[name].is_null()) {
            left_out += 1;
            continue;
        }
        bytes += more;
        short.insert(name.clone(), field);
    }
    if left_out > 0 {
        short.insert(LEFT_OUT.to_owned(), json!(format!("{left_out} fields")));
    }
    Value::Object(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_pushes_a_number_out_of_shortened_arguments() {
        let texts = (0..20).map(|n| (format!("a{n:02}"), json!("la ".repeat(50))));
        let arguments: Map<String, Value> = texts.chain([("amount_cents".to_owned(), json!(1_200))]).collect();
        assert_eq!(short_arguments(&Value::Object(arguments))["amount_cents"], 1_200);
    }

    #[test]
    fn of_long_arguments_what_they_were_about_is_left() {
        let arguments = json!({
            "amount_cents": 1_200,
            "items": vec![json!({ "sku": "A-1" }); 50],
            "order": "A-1001",
            "text": "la ".repeat(5_000),
        });
        let short = short_arguments(&arguments);
        assert!(short.to_string().len() < SHORT_ARGUMENTS_BYTES + 40, "{short}");
        assert_eq!((&short["amount_cents"], &short["order"]), (&json!(1_200), &json!("A-1001")));
        assert_eq!(short["left_out"], "1 fields");
        assert_eq!(short_arguments(&json!({ "order": "A-1" })), json!({ "order": "A-1" }));
    }
}
