//! Tool names as providers take them.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use windlass::{agent::tool::ToolSpec, ids::ToolName};

/// The most characters of a tool's name: OpenAI and Bedrock take 64, Anthropic 128
/// (<https://platform.openai.com/docs/api-reference/chat/create>,
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html>).
pub const WIRE_NAME_CHARS_MAX: usize = 64;

/// The names of an agent's tools at a provider: letters, digits, `_` and `-`.
///
/// A tool of an MCP server goes by the server's own name for it, `look_up` for `shop/look_up`. When that is no name for a provider, or
/// another tool has it too, the tool gets those of its characters that may stay, and a mark that keeps it apart from every other. The same
/// tools have the same names in every process of a release.
pub struct WireNames<'t>(BTreeMap<&'t str, String>);

impl<'t> WireNames<'t> {
    /// The names of `tools`.
    pub fn of(tools: &[&'t ToolSpec]) -> WireNames<'t> {
        let names: BTreeSet<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let mut wanted: BTreeMap<&str, u32> = BTreeMap::new();
        for name in &names {
            *wanted.entry(own(name)).or_default() += 1;
        }
        let marks: BTreeSet<String> = names.iter().map(|name| marked(name)).collect();
        let wire = |name: &'t str| {
            let own = own(name);
            // The agent's own tools are called what they are called.
            let free = own == name || (wanted.get(own) == Some(&1) && !marks.contains(own));
            (name, if is_plain(own) && free { own.to_owned() } else { marked(name) })
        };
        WireNames(names.iter().map(|name| wire(name)).collect())
    }

    /// The name of a tool; of one that the agent does not have any more, a name that none of its tools has.
    pub fn wire(&self, name: &ToolName) -> String {
        match self.0.get(name.as_str()) {
            Some(wire) => wire.clone(),
            None if self.0.values().any(|wire| wire == name.as_str()) || !is_plain(name.as_str()) => {
                marked(name.as_str())
            }
            None => name.to_string(),
        }
    }
}

/// The server's own name for a tool, or the name of a tool of no server.
fn own(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, own)| own)
}

fn may_stay(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= WIRE_NAME_CHARS_MAX && name.chars().all(may_stay)
}

fn marked(name: &str) -> String {
    let mark: String = Sha256::digest(name.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().map(|c| if may_stay(c) { c } else { '_' }).collect();
    let kept: String = kept.chars().take(WIRE_NAME_CHARS_MAX - mark.len() - 1).collect();
    format!("{kept}_{mark}")
}

/// The tool that a provider calls by this name.
pub fn tool_of<'t>(wire: &str, tools: &[&'t ToolSpec]) -> Option<&'t ToolName> {
    let names = WireNames::of(tools);
    tools.iter().map(|tool| &tool.name).find(|name| names.wire(name) == wire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::tests::tool;

    fn names(of: &[&str]) -> Vec<String> {
        let tools: Vec<ToolSpec> = of.iter().map(|name| tool(name)).collect();
        let tools: Vec<&ToolSpec> = tools.iter().collect();
        let names = WireNames::of(&tools);
        for tool in &tools {
            assert_eq!(tool_of(&names.wire(&tool.name), &tools), Some(&tool.name), "both ways");
        }
        tools.iter().map(|tool| names.wire(&tool.name)).collect()
    }

    #[test]
    fn a_servers_tool_goes_by_its_own_name_unless_two_have_it() {
        assert_eq!(names(&["refund", "shop/look_up", "crm/find-2"]), ["refund", "look_up", "find-2"]);
        let collided = names(&["shop/look_up", "crm/look_up", "shop/pay"]);
        assert!(collided[0].starts_with("shop_look_up_") && collided[1].starts_with("crm_look_up_"), "{collided:?}");
        assert_eq!(collided[2], "pay");
        let own = names(&["look_up", "shop/look_up"]);
        assert!(own[0] == "look_up" && own[1].starts_with("shop_look_up_"), "{own:?}");
    }

    #[test]
    fn what_no_provider_takes_gets_a_mark_that_tells_it_from_its_likes() {
        assert!(names(&["crm/orders.list"])[0].starts_with("crm_orders_list_"));
        let alike = names(&["crm/orders.list", "crm.orders/list.", "crm/orders/list"]);
        assert_eq!(alike.iter().collect::<BTreeSet<_>>().len(), 3, "{alike:?}");
        let long = "x".repeat(100);
        assert_eq!(names(&[&format!("shop/{long}")])[0].len(), WIRE_NAME_CHARS_MAX);
        // A tool that is called what another one's mark would be does not take its place.
        let mark = marked("shop/look.up");
        let planted = names(&["shop/look.up", &format!("evil/{mark}")]);
        assert!(planted[0] == mark && planted[1] != mark, "{planted:?}");
    }

    #[test]
    fn a_past_call_of_a_tool_that_is_gone_has_no_other_tools_name() {
        let there = tool("shop/look_up");
        let names = WireNames::of(&[&there]);
        let gone = |name: &str| names.wire(&name.parse().expect("a name"));
        assert_eq!(gone("refund"), "refund");
        assert_ne!(gone("look_up"), "look_up");
        assert_ne!(gone("crm/look_up"), "look_up");
    }
}
