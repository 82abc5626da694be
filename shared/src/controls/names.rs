//! Names in settings, against those that a release knows: a switch under a name that nothing has switches nothing off.

use std::collections::BTreeSet;

use super::Settings;

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tool.
    Tool,
    /// A task.
    Task,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Kind::Tool => "tool",
            Kind::Task => "task",
        }
    }
}

/// A setting has a name that the release does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the release knows no {} `{name}`{}", .kind.word(), meant(.nearest.as_deref()))]
pub struct UnknownName {
    /// What it would be of.
    pub kind: Kind,
    /// The name.
    pub name: String,
    /// The known name that it is most like, if it is like one.
    pub nearest: Option<String>,
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// The names that a release knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Its tools.
    pub tools: BTreeSet<String>,
    /// MCP servers: what they offer is known by `<server>/`.
    pub servers: BTreeSet<String>,
    /// Its tasks.
    pub tasks: BTreeSet<String>,
}

impl Names {
    /// Checks what `after` names and `before` did not. What is there already is not asked about again: a release may have lost a tool
    /// that stays switched off.
    ///
    /// # Errors
    /// The first name that the release does not know.
    pub fn check(&self, before: &Settings, after: &Settings) -> Result<(), UnknownName> {
        for tool in after.tools_off.difference(&before.tools_off) {
            let offered = tool.as_str().split_once('/').is_some_and(|(server, _)| self.servers.contains(server));
            if !offered {
                known(Kind::Tool, tool.as_str(), &self.tools)?;
            }
        }
        for task in after.routes.keys().filter(|task| !before.routes.contains_key(task)) {
            known(Kind::Task, task.as_str(), &self.tasks)?;
        }
        Ok(())
    }
}

/// Whether `name` is one of `names`; if not, which it is most like.
pub(crate) fn known(kind: Kind, name: &str, names: &BTreeSet<String>) -> Result<(), UnknownName> {
    if names.contains(name) {
        return Ok(());
    }
    // A slip changes a letter or two; what differs in more is another name.
    let near = names.iter().map(|known| (strsim::osa_distance(name, known), known));
    let near = near.filter(|(distance, known)| *distance <= known.chars().count() / 2);
    let nearest = near.min().map(|(_, known)| known.clone());
    Err(UnknownName { kind, name: name.to_owned(), nearest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Names {
            tools: set(&["refund", "look_up_order"]),
            servers: set(&["bank"]),
            tasks: set(&["refund", "refund/checked"]),
        }
    }

    fn typed(before: &Settings, one: &str) -> Result<(), UnknownName> {
        names().check(before, &before.clone().set(one).expect("a setting"))
    }

    #[test]
    fn a_switch_of_a_tool_that_nothing_has_is_refused_with_the_nearest_name() {
        let error = typed(&Settings::default(), "tool.refnd=off").expect_err("nothing has it").to_string();
        assert_eq!(error, "the release knows no tool `refnd`; did you mean `refund`?");
        let error = typed(&Settings::default(), "tool.xyzzy=off").expect_err("nothing has it").to_string();
        assert_eq!(error, "the release knows no tool `xyzzy`");
        let error = typed(&Settings::default(), "route.refund/chekced.prompt=3").expect_err("nothing has it");
        assert_eq!((error.kind, error.nearest.as_deref()), (Kind::Task, Some("refund/checked")));
    }

    #[test]
    fn known_names_those_of_servers_and_those_that_are_set_already_may_be_set() {
        for one in ["tool.refund=off", "tool.bank/pay=off", "route.refund.prompt=1", "tool.refnd=on", "agent=off"] {
            assert_eq!(typed(&Settings::default(), one), Ok(()), "{one}");
        }
        let lost = Settings::default().set("tool.lost=off").expect("a setting");
        assert_eq!(typed(&lost, "tool.refund=off"), Ok(()));
        assert_eq!(typed(&lost, "tool.lost=on"), Ok(()));
    }
}
