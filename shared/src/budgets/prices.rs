//! What models cost, and what one call takes at most.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Spend;

/// What one model costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Millionths of a US dollar for a million tokens read.
    pub input: u64,
    /// Millionths of a US dollar for a million tokens written.
    pub output: u64,
    /// The most tokens that one answer may have.
    #[serde(default = "output_tokens_max")]
    pub output_tokens_max: u64,
}

/// What the adapters ask for when nothing else is said.
const fn output_tokens_max() -> u64 {
    4_096
}

/// Bytes of a question that are taken for one token. Tokenizers make about four bytes of English one token, fewer of other
/// languages and of JSON (<https://platform.openai.com/tokenizer>); two is on the safe side of both.
const BYTES_PER_TOKEN: u64 = 2;

/// Tokens of a question that the run's own data does not account for: tool descriptions and the provider's own frame.
const FRAME_TOKENS: u64 = 1_000;

/// The text is not a price table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a price table: {problem}")]
pub struct InvalidPrices {
    problem: String,
}

/// Prices by model name; `*` stands for every other model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// Reads `{"NAME":{"input":N,"output":N,"output_tokens_max":N}}`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn parse(text: &str) -> Result<Prices, InvalidPrices> {
        serde_json::from_str(text).map(Prices).map_err(|error| InvalidPrices { problem: error.to_string() })
    }

    /// What `model` costs; nothing when it is not listed.
    pub fn of(&self, model: &str) -> Price {
        let free = Price { input: 0, output: 0, output_tokens_max: output_tokens_max() };
        self.0.get(model).or_else(|| self.0.get("*")).copied().unwrap_or(free)
    }

    /// What one call of `model` takes at most when the question's own data has so many bytes.
    pub fn worst_case(&self, model: &str, question_bytes: u64) -> Spend {
        let price = self.of(model);
        let input = FRAME_TOKENS + question_bytes.div_ceil(BYTES_PER_TOKEN);
        let micro_usd = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
        let total = micro_usd(input, price.input) + micro_usd(price.output_tokens_max, price.output);
        Spend {
            micro_usd: u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX),
            tokens: input.saturating_add(price.output_tokens_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_input_and_the_longest_answer_at_their_prices() {
        let prices = Prices::parse(r#"{"m":{"input":3000000,"output":15000000,"output_tokens_max":1000}}"#);
        let prices = prices.expect("a table");
        // 1,000 + 500 tokens at 3 micro-USD, 1,000 at 15.
        assert_eq!(prices.worst_case("m", 1_000), Spend { micro_usd: 4_500 + 15_000, tokens: 2_500 });
        assert_eq!(prices.worst_case("other", 0), Spend { micro_usd: 0, tokens: 5_096 });
    }

    #[test]
    fn a_misspelt_price_is_refused() {
        assert!(Prices::parse(r#"{"m":{"imput":3,"output":15}}"#).is_err());
    }
}
