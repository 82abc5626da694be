//! What one question to a model takes at most.

use super::Spend;
use crate::config::Price;

/// Bytes of a question that are taken for one token. Tokenizers make about four bytes of English one token, fewer of other
/// languages and of JSON (<https://platform.openai.com/tokenizer>); two is on the safe side of both.
const BYTES_PER_TOKEN: u64 = 2;

/// Tokens of a question that the run's own data does not account for: the provider's own frame.
const FRAME_TOKENS: u64 = 500;

/// What a question of so many bytes takes at most when its answer has at most so many tokens: all of it is read, and the longest
/// answer is given.
pub fn worst_case(price: Price, question_bytes: u64, output_tokens_max: u32) -> Spend {
    let input = FRAME_TOKENS + question_bytes.div_ceil(BYTES_PER_TOKEN);
    let output = u64::from(output_tokens_max);
    Spend { micro_usd: price.cost_micro_usd(input, output), tokens: input.saturating_add(output) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_input_and_the_longest_answer_at_their_prices() {
        let price = Price { input_micro_usd: 3_000_000, output_micro_usd: 15_000_000 };
        // 500 + 500 tokens at 3 micro-USD, 1,000 at 15.
        assert_eq!(worst_case(price, 1_000, 1_000), Spend { micro_usd: 3_000 + 15_000, tokens: 2_000 });
        assert_eq!(worst_case(Price::default(), 0, 1_000), Spend { micro_usd: 0, tokens: 1_500 });
    }
}
