//! Tool names as providers take them.

use sha2::{Digest as _, Sha256};
use windlass::{agent::tool::ToolSpec, ids::ToolName};

/// The most characters of a tool's name: OpenAI and Bedrock take 64, Anthropic 128
/// (<https://platform.openai.com/docs/api-reference/chat/create>,
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html>).
pub const WIRE_NAME_CHARS_MAX: usize = 64;

/// The name that goes to a provider: letters, digits, `_` and `-`. Another name gets those of its characters that may stay, and
/// a mark that keeps it apart from every other.
pub fn wire_name(name: &ToolName) -> String {
    let name = name.as_str();
    let may_stay = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.len() <= WIRE_NAME_CHARS_MAX && name.chars().all(may_stay) {
        return name.to_owned();
    }
    let mark: String = Sha256::digest(name.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().map(|c| if may_stay(c) { c } else { '_' }).collect();
    let kept: String = kept.chars().take(WIRE_NAME_CHARS_MAX - mark.len() - 1).collect();
    format!("{kept}_{mark}")
}

/// The tool that a provider calls by this name.
pub fn tool_of<'t>(wire: &str, tools: &[&'t ToolSpec]) -> Option<&'t ToolName> {
    tools.iter().map(|tool| &tool.name).find(|name| wire_name(name) == wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_goes_as_it_is_and_another_gets_a_mark_that_tells_it_from_its_likes() {
        let wire = |name: &str| wire_name(&name.parse().expect("a tool's name"));
        assert_eq!(wire("look_up-order2"), "look_up-order2");
        assert!(wire("crm/orders.list").starts_with("crm_orders_list_"));
        assert_ne!(wire("crm/orders.list"), wire("crm.orders/list"));
        let long = "x".repeat(100);
        assert_eq!(wire(&long).len(), WIRE_NAME_CHARS_MAX);
        assert_ne!(wire(&long), wire(&"x".repeat(101)));
    }
}
