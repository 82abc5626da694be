//! What one question to a model takes at most.

use crate::{
    agent::model::{Pricing, Usage},
    config::Price,
};

/// Tokens of a question that what is sent does not account for: the instructions that providers add when there are tools, 346 at
/// Anthropic (<https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview#pricing>).
const FRAME_TOKENS: u64 = 500;

/// What a question of so many bytes, as it is sent, takes at most when its answer has at most so many tokens: all of it is read, and the
/// longest answer is given. A token is at least one byte in every tokenizer in use, so a byte counts as a token: digits and rare scripts
/// come near that, English takes a quarter.
pub fn worst_case(price: Option<Price>, question_bytes: u64, output_tokens_max: u32) -> Usage {
    let input_tokens = question_bytes.saturating_add(FRAME_TOKENS);
    let output_tokens = u64::from(output_tokens_max);
    usage(price, input_tokens, output_tokens)
}

/// What tokens take at a price, or without one.
pub fn usage(price: Option<Price>, input_tokens: u64, output_tokens: u64) -> Usage {
    let (cost_micro_usd, pricing) = match price {
        Some(price) => (price.cost_micro_usd(input_tokens, output_tokens), Pricing::Known),
        None => (0, Pricing::Unknown),
    };
    Usage { input_tokens, output_tokens, cost_micro_usd, pricing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_input_and_the_longest_answer_at_their_prices() {
        let price = Price { input_micro_usd: 3_000_000, output_micro_usd: 15_000_000 };
        // 500 + 500 tokens at 3 micro-USD, 1,000 at 15.
        let wanted =
            Usage { input_tokens: 1_000, output_tokens: 1_000, cost_micro_usd: 3_000 + 15_000, ..Usage::default() };
        assert_eq!(worst_case(Some(price), 500, 1_000), wanted);
        let free = Usage { input_tokens: 500, output_tokens: 1_000, cost_micro_usd: 0, ..Usage::default() };
        assert_eq!(worst_case(Some(Price::default()), 0, 1_000), free);
        assert_eq!(
            worst_case(None, 0, 1_000),
            Usage { pricing: Pricing::Unknown, ..free },
            "without a price is not free"
        );
    }
}
