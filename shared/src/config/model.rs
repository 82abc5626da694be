//! Which models answer, where they are reached and what they cost.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use serde::Deserialize;

use super::{Environment, Runtime, read::Reader, variables};
use crate::budgets::Allowance;

/// The model provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Which model is asked.
    pub first: Route,
    /// Which is asked while the first does not answer.
    pub fallback: Option<Route>,
    /// What is done while none of them answers.
    pub last_resort: LastResort,
    /// How long one answer of one model may take.
    pub timeout: Duration,
    /// The most tokens of one answer.
    pub output_tokens_max: u32,
    /// Whether exchanges are recorded, or taken from a recording.
    pub cassette: Option<Cassette>,
}

/// One model, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which model.
    pub model: ModelName,
    /// Where; the provider's own address when `None`.
    pub base_url: Option<String>,
    /// The name of the secret that holds the provider's key.
    pub secret: Option<String>,
    /// What it costs.
    pub price: Option<Price>,
}

/// A provider and its name for a model, written `openai:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelName {
    /// Answers follow a script: no provider, no cost.
    Script,
    /// A model behind Anthropic's Messages API.
    Anthropic(String),
    /// A model behind OpenAI's Chat Completions API, or anything that speaks it.
    OpenAi(String),
    /// A model of Amazon Bedrock, by model id or inference profile.
    Bedrock(String),
}

/// The text names no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not `script`, `anthropic:NAME`, `openai:NAME` or `bedrock:ID`")]
pub struct InvalidModelName;

/// The most characters of a provider's name for a model: Bedrock's ARNs are the longest
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
const MODEL_NAME_CHARS_MAX: usize = 256;

impl FromStr for ModelName {
    type Err = InvalidModelName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "script" {
            return Ok(ModelName::Script);
        }
        let (provider, name) = text.split_once(':').ok_or(InvalidModelName)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/@+".contains(&b);
        if name.is_empty() || name.len() > MODEL_NAME_CHARS_MAX || !name.bytes().all(allowed) {
            return Err(InvalidModelName);
        }
        match provider {
            "anthropic" => Ok(ModelName::Anthropic(name.to_owned())),
            "openai" => Ok(ModelName::OpenAi(name.to_owned())),
            "bedrock" => Ok(ModelName::Bedrock(name.to_owned())),
            _ => Err(InvalidModelName),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelName::Script => f.write_str("script"),
            ModelName::Anthropic(name) => write!(f, "anthropic:{name}"),
            ModelName::OpenAi(name) => write!(f, "openai:{name}"),
            ModelName::Bedrock(id) => write!(f, "bedrock:{id}"),
        }
    }
}

/// What tokens cost, in millionths of a US dollar per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    /// Tokens read.
    pub input_micro_usd: u64,
    /// Tokens written.
    pub output_micro_usd: u64,
}

impl Price {
    /// What an answer cost, in millionths of a US dollar, rounded up.
    pub fn cost_micro_usd(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let read = u128::from(input_tokens) * u128::from(self.input_micro_usd);
        let written = u128::from(output_tokens) * u128::from(self.output_micro_usd);
        u64::try_from(read.saturating_add(written).div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// What is done while no model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastResort {
    /// The run rests and asks again.
    Rest,
    /// The run ends with an answer that says that a person must take it over.
    Person,
}

/// Whether exchanges with a provider are recorded, or taken from a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cassette {
    /// Every exchange is written to this folder, over what was there.
    Record(PathBuf),
    /// Every exchange is read from this folder; nothing is sent.
    Replay(PathBuf),
}

/// What is known of a route before its price is.
struct Way {
    model: ModelName,
    base_url: Option<String>,
    secret: Option<String>,
}

/// The model's variables, sound one by one.
pub(super) struct Unchecked {
    first: Way,
    fallback: Option<Way>,
    last_resort: LastResort,
    timeout: Duration,
    output_tokens_max: Option<u32>,
    prices: BTreeMap<ModelName, Price>,
    cassette: Option<Cassette>,
}

pub(super) fn read(read: &mut Reader<'_>) -> Option<Unchecked> {
    let first = read.model_name(&variables::MODEL);
    let base_url = read.optional(&variables::MODEL_BASE_URL, Reader::url);
    let secret = read.optional(&variables::MODEL_SECRET, Reader::secret_name);
    let timeout = read.span(&variables::MODEL_TIMEOUT_SECONDS, Duration::from_secs(1), 1..=600);
    let tokens = |read: &mut Reader<'_>, variable: &variables::Variable| read.number(variable, 1..=200_000);
    let output_tokens_max = read.optional(&variables::MODEL_OUTPUT_TOKENS_MAX, tokens);
    let prices = read.optional(&variables::MODEL_PRICES, Reader::prices);
    let fallback = read.optional(&variables::MODEL_FALLBACK, Reader::model_name);
    let fallback_base_url = read.optional(&variables::MODEL_FALLBACK_BASE_URL, Reader::url);
    let fallback_secret = read.optional(&variables::MODEL_FALLBACK_SECRET, Reader::secret_name);
    let choices = [("rest", LastResort::Rest), ("person", LastResort::Person)];
    let last_resort = read.one_of(&variables::MODEL_LAST_RESORT, &choices);
    let cassette = read.optional(&variables::MODEL_CASSETTE, Reader::cassette);
    let (fallback_base_url, fallback_secret) = (fallback_base_url?, fallback_secret?);
    Some(Unchecked {
        first: Way { model: first?, base_url: base_url?, secret: secret? },
        fallback: fallback?.map(|model| Way { model, base_url: fallback_base_url, secret: fallback_secret }),
        last_resort: last_resort?,
        timeout: timeout?,
        output_tokens_max: output_tokens_max?.and_then(|tokens| u32::try_from(tokens).ok()),
        prices: prices?.unwrap_or_default(),
        cassette: cassette?,
    })
}

/// What an invocation needs besides its models' answers: to claim a run, read its journal, write and leave, and for a script as
/// the fallback. A question that never fits would be handed on from one invocation to the next until the run is dead.
const AROUND_A_QUESTION: Duration = Duration::from_secs(10);

/// How many tokens a second a model is taken to write: of those that are served widely the slower ones write 50 to 80. An answer that
/// cannot be written within its timeout is paid for, thrown away and asked for again.
pub const OUTPUT_TOKENS_PER_SECOND: u32 = 50;

/// The most tokens of one answer unless it is said: more than a plan or a letter needs.
const OUTPUT_TOKENS_DEFAULT: u32 = 4_096;

/// The most tokens that can be written within `timeout`.
fn tokens_within(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX).saturating_mul(OUTPUT_TOKENS_PER_SECOND)
}

/// What is sound one by one may not fit together.
pub(super) fn check(read: &mut Reader<'_>, parts: Unchecked, runtime: &Runtime, budget: Allowance) -> Model {
    let Unchecked { first, fallback, last_resort, timeout, output_tokens_max, prices, cassette } = parts;
    let environment = runtime.environment;
    let asked = [Some(&first.model), fallback.as_ref().map(|way| &way.model)];
    let asked = asked.into_iter().flatten().filter(|model| **model != ModelName::Script).count() as u32;
    if asked > 0 && timeout * asked + AROUND_A_QUESTION > runtime.step_timeout {
        let (each, around, has) = (timeout.as_secs(), AROUND_A_QUESTION.as_secs(), runtime.step_timeout.as_secs());
        let problem = format!(
            "is {each}: {asked} models with {each} s each and {around} s besides do not fit into the {has} s of an invocation"
        );
        read.refuse(&variables::MODEL_TIMEOUT_SECONDS, problem, "lower it, or raise the step function's timeout");
    }
    let within = tokens_within(timeout);
    let output_tokens_max = output_tokens_max.unwrap_or(within.min(OUTPUT_TOKENS_DEFAULT));
    if asked > 0 && output_tokens_max > within {
        let each = timeout.as_secs();
        let problem = format!(
            "is {output_tokens_max}: at {OUTPUT_TOKENS_PER_SECOND} tokens a second {within} can come within the {each} s of \
             `MODEL_TIMEOUT_SECONDS`, and what comes later is paid for and lost"
        );
        read.refuse(&variables::MODEL_OUTPUT_TOKENS_MAX, problem, "lower it, or raise `MODEL_TIMEOUT_SECONDS`");
    }
    if cassette.is_some() && environment == Environment::Production {
        read.refuse(&variables::MODEL_CASSETTE, "is set in production", "remove it");
    }
    let budgeted = budget.micro_usd > 0;
    let mut rules =
        Rules { read, environment, prices, budgeted, replays: matches!(cassette, Some(Cassette::Replay(_))) };
    let first = rules.route(first, &variables::MODEL_BASE_URL, &variables::MODEL_SECRET);
    let fallback =
        fallback.map(|way| rules.route(way, &variables::MODEL_FALLBACK_BASE_URL, &variables::MODEL_FALLBACK_SECRET));
    Model { first, fallback, last_resort, timeout, output_tokens_max, cassette }
}

/// The names of the secrets with providers' keys, as far as `lookup` has usable ones, whatever else is wrong.
pub fn key_names(lookup: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut read = Reader::new(lookup);
    if let Some(Some(Cassette::Replay(_))) = read.optional(&variables::MODEL_CASSETTE, Reader::cassette) {
        return Vec::new();
    }
    let names = [&variables::MODEL_SECRET, &variables::MODEL_FALLBACK_SECRET];
    names.into_iter().filter_map(|name| read.optional(name, Reader::secret_name).flatten()).collect()
}

/// What must hold between the variables of a route.
struct Rules<'r, 'a> {
    read: &'r mut Reader<'a>,
    environment: Environment,
    prices: BTreeMap<ModelName, Price>,
    /// Whether actors may spend so many dollars and no more.
    budgeted: bool,
    replays: bool,
}

impl Rules<'_, '_> {
    fn route(&mut self, way: Way, url: &variables::Variable, secret: &variables::Variable) -> Route {
        let Way { model, base_url, secret: name } = way;
        let is_dev = self.environment == Environment::Dev;
        if let Some(base_url) = &base_url
            && !is_dev
            && base_url.starts_with("http://")
            && !is_on_loopback(base_url)
        {
            let problem = "is not `https:`: the provider's key and the run's data would travel in the clear";
            self.read.refuse(url, problem, "use `https:`, or an address on loopback");
        }
        let needs_key = matches!(model, ModelName::Anthropic(_) | ModelName::OpenAi(_)) && base_url.is_none();
        if needs_key && name.is_none() && !self.replays {
            let problem = format!("is not set, and `{model}` needs a key");
            self.read.refuse(secret, problem, format!("set it to {}", secret.meaning));
        }
        let price = self.prices.get(&model).copied();
        if price.is_none() && (!is_dev || self.budgeted) && model != ModelName::Script {
            let hint = format!(r#"add {{"{model}":{{"input":0.5,"output":1.5}}}}, in US dollars per million tokens"#);
            self.read.refuse(&variables::MODEL_PRICES, format!("has no price for `{model}`"), hint);
        }
        let price = if model == ModelName::Script { Some(Price::default()) } else { price };
        Route { model, base_url, secret: name, price }
    }
}

/// Whether what is sent to `url` stays on this machine.
fn is_on_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The most that a million tokens are taken to cost, in US dollars: a thousand times what models cost, so that a price in
/// another unit is noticed.
const PRICE_USD_MAX: f64 = 10_000.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceInUsd {
    input: f64,
    output: f64,
}

/// Reads `{"openai:NAME":{"input":0.5,"output":1.5}}`.
pub(super) fn prices(text: &str) -> Result<BTreeMap<ModelName, Price>, String> {
    let form = r#"is not of the form {"openai:NAME":{"input":0.5,"output":1.5}}"#;
    let prices: BTreeMap<String, PriceInUsd> = serde_json::from_str(text).map_err(|_| form.to_owned())?;
    let micro_usd = |usd: f64| match usd {
        usd if (0.0..=PRICE_USD_MAX).contains(&usd) => Ok((usd * 1e6).round() as u64),
        _ => Err(format!("has a price that is not between 0 and {PRICE_USD_MAX} US dollars")),
    };
    let entry = |(name, price): (String, PriceInUsd)| {
        let name: ModelName = name.parse().map_err(|_| "prices something that is not a model".to_owned())?;
        Ok((name, Price { input_micro_usd: micro_usd(price.input)?, output_micro_usd: micro_usd(price.output)? }))
    };
    prices.into_iter().map(entry).collect()
}

/// Reads `record:DIR` or `replay:DIR`.
pub(super) fn cassette(text: &str) -> Option<Cassette> {
    match text.split_once(':')? {
        (_, "") => None,
        ("record", folder) => Some(Cassette::Record(folder.into())),
        ("replay", folder) => Some(Cassette::Replay(folder.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_by_its_provider_and_the_providers_own_name() {
        for text in ["script", "anthropic:claude-x", "openai:org/model:7b", "bedrock:eu.amazon.nova-1:0"] {
            assert_eq!(text.parse::<ModelName>().expect(text).to_string(), text);
        }
        for text in ["", "gpt", "openai:", "openai:a b", "other:x", "Script", "openai:sk\n"] {
            assert_eq!(text.parse::<ModelName>(), Err(InvalidModelName), "{text}");
        }
    }

    #[test]
    fn only_what_stays_on_the_machine_is_on_loopback() {
        for url in ["http://127.0.0.1:80/v1", "http://localhost", "http://[::1]:9/x", "http://127.9.9.9"] {
            assert!(is_on_loopback(url), "{url}");
        }
        for url in ["http://10.0.0.1", "http://127.0.0.1.example.com", "http://example.com/localhost", "http://0.0.0.0"]
        {
            assert!(!is_on_loopback(url), "{url}");
        }
    }

    #[test]
    fn a_cost_is_never_rounded_down() {
        let price = Price { input_micro_usd: 2_500_000, output_micro_usd: 10_000_000 };
        assert_eq!(price.cost_micro_usd(1_000_000, 1_000_000), 12_500_000);
        assert_eq!(price.cost_micro_usd(1, 0), 3);
        assert_eq!(price.cost_micro_usd(0, 0), 0);
        assert_eq!(price.cost_micro_usd(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn prices_in_another_form_or_unit_are_refused() {
        let read = prices(r#"{"openai:x":{"input":0.15,"output":0.6}}"#).expect("they are sound");
        assert_eq!(read[&ModelName::OpenAi("x".into())], Price { input_micro_usd: 150_000, output_micro_usd: 600_000 });
        for text in [
            "",
            "[]",
            r#"{"openai:x":{"input":1}}"#,
            r#"{"openai:x":{"input":1,"output":2,"per":"token"}}"#,
            r#"{"x":{"input":1,"output":2}}"#,
            r#"{"openai:x":{"input":-1,"output":2}}"#,
            r#"{"openai:x":{"input":1,"output":250000}}"#,
        ] {
            assert!(prices(text).is_err(), "{text}");
        }
    }
}
