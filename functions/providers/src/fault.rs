//! Whose fault it is that a provider answered with an error: a table for each dialect.
//!
//! Only what a provider says of *this question* is the run's. What it says of the account, the key, the model's name or how we write
//! ends no run: nobody's question is answered until somebody mends that. And what cannot be told apart is not held against a run.

use serde_json::Value;

use crate::{
    cassette::cleanse::cleanse,
    conversation::excerpt,
    dialect::{Dialect, openai},
};

/// How much of what a provider says about an error is kept.
const COMPLAINT_BYTES_MAX: usize = 300;

/// What an error of a provider means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It cannot answer now: too many requests, overloaded, broken.
    Busy,
    /// Something between us and the model gave up waiting. Nobody knows what the model did.
    GaveUp,
    /// It answers nobody who asks as we do.
    Misconfigured,
    /// It is about this question: too long, or against the provider's rules.
    Question,
    /// The model wrote a call that its provider cannot read: an answer, and an unusable one.
    Unusable,
}

/// What a provider says about an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Complaint {
    /// Its kind and its code, as far as they are words.
    pub marks: Vec<String>,
    /// The field that it is about.
    pub param: Option<String>,
    /// The status that it names itself, within an answer with another.
    pub status: Option<u16>,
    /// What it says, for people.
    pub message: Option<String>,
}

impl Complaint {
    /// What `body` complains about.
    pub fn of(dialect: &Dialect, body: &Value) -> Complaint {
        let error = &body["error"];
        let (kind, message) = match dialect {
            Dialect::Bedrock => (&body["__type"], &body["message"]),
            Dialect::Anthropic | Dialect::OpenAi(_) if error.is_string() => (&body["type"], error),
            Dialect::Anthropic | Dialect::OpenAi(_) => (&error["type"], &error["message"]),
        };
        let marks = [kind, &error["code"], &error["status"], &body["code"]];
        let marks = marks.into_iter().filter_map(Value::as_str).map(|mark| excerpt(mark, COMPLAINT_BYTES_MAX));
        // As FastAPI and most gateways say it.
        let message = [message, &body["message"], &body["detail"]].into_iter().find_map(Value::as_str);
        let status =
            [&error["code"], &error["status"], &body["code"], &body["status"]].into_iter().find_map(Value::as_u64);
        Complaint {
            marks: marks.map(|mark| mark.to_ascii_lowercase()).collect(),
            param: error["param"].as_str().map(|param| excerpt(param, COMPLAINT_BYTES_MAX)),
            status: status.and_then(|status| u16::try_from(status).ok()).filter(|status| (300..600).contains(status)),
            message: message.map(|said| excerpt(&cleanse(said, None), COMPLAINT_BYTES_MAX)),
        }
    }

    /// What it says, in a line. What is said about a key may quote it, so it is not repeated.
    pub fn words(&self, status: u16) -> String {
        let said = match status {
            401 | 403 => "the provider does not accept the key, or what it is used for",
            _ => self.message.as_deref().unwrap_or("the provider does not say why"),
        };
        format!("HTTP {status}: {said}")
    }

    /// Whether it is about the name under which the most tokens were given, so that the other may do.
    pub fn is_about(&self, limit: openai::Limit) -> bool {
        let name = limit.name();
        let says = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name);
        let other = |text: &str| text.contains(limit.other().name());
        self.param.as_deref() == Some(name) || self.message.as_deref().is_some_and(|said| says(said) || other(said))
    }
}

/// How an error is known.
enum Sign {
    /// By a word of the provider's for its kind.
    Mark(&'static str),
    /// By what it says, in lower case, with one of these statuses (any when there are none).
    Says(&'static str, &'static [u16]),
}

/// A question that cannot be answered, by what is said of it; elsewhere the same words are about something else.
const OF_THE_QUESTION: &[u16] = &[200, 400, 413, 422];

/// The first row that fits decides; then the status.
const ANTHROPIC: &[(Sign, Fault)] = &[
    (Sign::Mark("request_too_large"), Fault::Question),
    (Sign::Mark("timeout_error"), Fault::GaveUp),
    (Sign::Mark("rate_limit_error"), Fault::Busy),
    (Sign::Mark("overloaded_error"), Fault::Busy),
    (Sign::Mark("api_error"), Fault::Busy),
    (Sign::Mark("authentication_error"), Fault::Misconfigured),
    (Sign::Mark("billing_error"), Fault::Misconfigured),
    (Sign::Mark("permission_error"), Fault::Misconfigured),
    (Sign::Mark("not_found_error"), Fault::Misconfigured),
    (Sign::Says("prompt is too long", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("exceed context limit", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("content filtering policy", OF_THE_QUESTION), Fault::Question),
    (Sign::Mark("invalid_request_error"), Fault::Misconfigured),
];

const OPENAI: &[(Sign, Fault)] = &[
    (Sign::Mark("context_length_exceeded"), Fault::Question),
    (Sign::Mark("string_above_max_length"), Fault::Question),
    (Sign::Mark("content_policy_violation"), Fault::Question),
    (Sign::Mark("content_filter"), Fault::Question),
    (Sign::Mark("invalid_prompt"), Fault::Question),
    (Sign::Mark("tool_use_failed"), Fault::Unusable),
    (Sign::Mark("json_validate_failed"), Fault::Unusable),
    (Sign::Mark("insufficient_quota"), Fault::Misconfigured),
    (Sign::Mark("billing_hard_limit_reached"), Fault::Misconfigured),
    (Sign::Mark("billing_not_active"), Fault::Misconfigured),
    (Sign::Mark("account_deactivated"), Fault::Misconfigured),
    (Sign::Mark("invalid_api_key"), Fault::Misconfigured),
    (Sign::Mark("model_not_found"), Fault::Misconfigured),
    (Sign::Mark("rate_limit_exceeded"), Fault::Busy),
    (Sign::Mark("overloaded_error"), Fault::Busy),
    (Sign::Mark("server_error"), Fault::Busy),
    (Sign::Says("context length", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("context window", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("prompt is too long", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("content management policy", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("flagged", &[200, 400, 403]), Fault::Question),
];

const BEDROCK: &[(Sign, Fault)] = &[
    (Sign::Says("input is too long", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("too many input tokens", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("prompt is too long", OF_THE_QUESTION), Fault::Question),
    (Sign::Says("context length", OF_THE_QUESTION), Fault::Question),
];

impl Fault {
    /// What an answer with this status and complaint means.
    pub fn of(dialect: &Dialect, status: u16, complaint: &Complaint) -> Fault {
        let rows = match dialect {
            Dialect::Anthropic => ANTHROPIC,
            Dialect::OpenAi(_) => OPENAI,
            Dialect::Bedrock => BEDROCK,
        };
        let message = complaint.message.as_deref().unwrap_or_default().to_lowercase();
        let status = complaint.status.filter(|_| status < 300).unwrap_or(status);
        let fits = |sign: &Sign| match sign {
            Sign::Mark(mark) => complaint.marks.iter().any(|known| known == mark),
            Sign::Says(words, on) => (on.is_empty() || on.contains(&status)) && message.contains(words),
        };
        rows.iter().find(|(sign, _)| fits(sign)).map_or_else(|| Fault::by_status(status), |(_, fault)| *fault)
    }

    /// What a status alone means.
    const fn by_status(status: u16) -> Fault {
        match status {
            // An error that calls itself a success says too little to hold anything against anybody.
            ..300 => Fault::Busy,
            // Too early, too many, in conflict with another request, and Bedrock's "the model failed"
            // (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors>).
            409 | 423 | 424 | 425 | 429 => Fault::Busy,
            413 => Fault::Question,
            // A gateway's timeouts, Cloudflare's among them
            // (<https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/>).
            408 | 499 | 504 | 522 | 524 => Fault::GaveUp,
            500.. => Fault::Busy,
            _ => Fault::Misconfigured,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(dialect: &Dialect, status: u16, body: &Value) -> Fault {
        Fault::of(dialect, status, &Complaint::of(dialect, body))
    }

    #[test]
    fn only_what_is_said_of_this_question_is_the_runs() {
        let [openai, anthropic, bedrock] =
            [Dialect::OpenAi(openai::Limit::Tokens), Dialect::Anthropic, Dialect::Bedrock];
        let code = |code: &str| json!({ "error": { "message": "no", "type": "invalid_request_error", "code": code } });
        let says = |message: &str| json!({ "error": { "message": message } });
        let kind =
            |kind: &str, message: &str| json!({ "type": "error", "error": { "type": kind, "message": message } });
        let message = |message: &str| json!({ "message": message });
        use Fault::{Busy, GaveUp, Misconfigured, Question, Unusable};
        for (dialect, status, body, wanted) in [
            (&openai, 400, code("context_length_exceeded"), Question),
            (&openai, 400, says("This model's maximum context length is 8192 tokens"), Question),
            (&openai, 400, code("content_filter"), Question),
            (&openai, 403, says("Your input was flagged"), Question),
            (&openai, 413, json!({}), Question),
            (&openai, 400, code("tool_use_failed"), Unusable),
            (&openai, 400, says("Invalid schema for function 'refund'"), Misconfigured),
            (&openai, 400, says("signature missing"), Misconfigured),
            (&openai, 401, code("invalid_api_key"), Misconfigured),
            (&openai, 402, says("Insufficient Balance"), Misconfigured),
            (&openai, 403, json!({}), Misconfigured),
            (&openai, 404, code("model_not_found"), Misconfigured),
            (&openai, 422, json!({ "detail": "extra fields" }), Misconfigured),
            (&openai, 302, json!(null), Misconfigured),
            (&openai, 429, code("insufficient_quota"), Misconfigured),
            (&openai, 429, code("rate_limit_exceeded"), Busy),
            (&openai, 429, says("too many tokens per minute for this context window"), Busy),
            (&openai, 500, json!({}), Busy),
            (&openai, 502, json!({}), Busy),
            (&openai, 503, says("overloaded"), Busy),
            (&openai, 504, json!({}), GaveUp),
            (&openai, 524, json!(null), GaveUp),
            (&openai, 408, json!({}), GaveUp),
            (&openai, 200, json!({ "error": { "message": "overloaded", "code": 429 } }), Busy),
            (&openai, 200, json!({ "error": { "message": "no credits", "code": 402 } }), Misconfigured),
            (&openai, 200, json!({ "error": "something" }), Busy),
            (&anthropic, 400, kind("invalid_request_error", "credit balance too low"), Misconfigured),
            (&anthropic, 400, kind("invalid_request_error", "tools.0.input_schema: bad"), Misconfigured),
            (&anthropic, 400, kind("invalid_request_error", "prompt is too long: 210000 tokens > 200000"), Question),
            (&anthropic, 400, kind("invalid_request_error", "Output blocked by content filtering policy"), Question),
            (&anthropic, 401, kind("authentication_error", "invalid x-api-key"), Misconfigured),
            (&anthropic, 402, kind("billing_error", "pay"), Misconfigured),
            (&anthropic, 403, kind("permission_error", "no"), Misconfigured),
            (&anthropic, 404, kind("not_found_error", "model: old"), Misconfigured),
            (&anthropic, 413, kind("request_too_large", "too large"), Question),
            (&anthropic, 429, kind("rate_limit_error", "slow down"), Busy),
            (&anthropic, 500, kind("api_error", "oops"), Busy),
            (&anthropic, 504, kind("timeout_error", "timed out"), GaveUp),
            (&anthropic, 529, kind("overloaded_error", "Overloaded"), Busy),
            (&anthropic, 200, kind("overloaded_error", "Overloaded"), Busy),
            (&bedrock, 400, message("Input is too long for requested model."), Question),
            (&bedrock, 400, message("The provided model identifier is invalid."), Misconfigured),
            (&bedrock, 403, message("You don't have access to the model"), Misconfigured),
            (&bedrock, 404, message("not found"), Misconfigured),
            (&bedrock, 408, message("Model timed out"), GaveUp),
            (&bedrock, 424, message("the model failed"), Busy),
            (&bedrock, 429, message("Too many requests"), Busy),
            (&bedrock, 503, message("unavailable"), Busy),
        ] {
            assert_eq!(fault(dialect, status, &body), wanted, "{dialect:?} {status} {body}");
        }
    }

    #[test]
    fn what_is_said_is_shortened_without_keys_and_about_keys_not_at_all() {
        let openai = Dialect::OpenAi(openai::Limit::Tokens);
        let complaint = |message: &str| Complaint::of(&openai, &json!({ "error": { "message": message } }));
        let words = complaint(&format!("bad key sk-0123456789abcdefgh {}", "x".repeat(2_000))).words(400);
        assert!(words.len() < 400 && !words.contains("sk-0123"), "{words}");
        assert!(!complaint("wrong key hunter2").words(401).contains("hunter2"));
        assert_eq!(Complaint::of(&openai, &json!(null)).words(500), "HTTP 500: the provider does not say why");
    }

    #[test]
    fn a_complaint_about_the_limits_name_is_told_from_others() {
        use openai::Limit::{CompletionTokens, Tokens};
        let of = |error: Value| Complaint::of(&Dialect::OpenAi(Tokens), &json!({ "error": error }));
        assert!(of(json!({ "message": "use max_completion_tokens", "param": "max_tokens" })).is_about(Tokens));
        assert!(of(json!({ "message": "Unsupported parameter: 'max_completion_tokens'" })).is_about(CompletionTokens));
        assert!(!of(json!({ "message": "Invalid schema", "param": "tools[0]" })).is_about(Tokens));
    }
}
