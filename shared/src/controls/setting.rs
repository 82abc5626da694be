//! Settings as they are typed: `tool.refund=off`, `flag.letters=25%`, and what differs between two documents.

use std::collections::{BTreeMap, BTreeSet};

use super::{AgentSwitch, Flag, PromptSwitch, RELEASED_MAX, Restored, Settings, Switch};
use crate::agent::policy::Tightening;

/// What is typed is not a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// It is not of the form `NAME=VALUE`.
    #[error("`{text}` is not of the form NAME=VALUE")]
    Form {
        /// What was typed.
        text: String,
    },
    /// There is no setting of that name.
    #[error("there is no setting `{name}`")]
    Name {
        /// The name.
        name: String,
    },
    /// The setting does not take that value.
    #[error("`{name}` takes {wanted}, not `{value}`")]
    Value {
        /// The setting.
        name: String,
        /// What was typed.
        value: String,
        /// What it takes.
        wanted: &'static str,
    },
}

/// Every setting and what it takes, for help texts.
pub const SETTINGS: [(&str, &str); 13] = [
    ("agent", "on, off (hold runs), fallback, or person:ROLE"),
    ("model", "on or off"),
    ("prompt", "on, routed, default or off"),
    ("tool.NAME", "on or off"),
    ("memory-writes", "on or off"),
    ("new-runs", "on or off"),
    ("policy", "none, approve or deny"),
    ("route.TASK.model", "a model's name, or none"),
    ("route.TASK.prompt", "a prompt's version, or none"),
    ("flag.NAME", "a percentage of tenants (25%), tenants (acme,globex), both (25%,acme), or off"),
    ("fallback-answer", "a JSON value, or none"),
    ("restored", "when the tables were restored (2026-09-21T14:13:20Z): earlier runs are held; or none"),
    ("restored.RUN", "released or held, while `restored` is set"),
];

impl Settings {
    /// With one setting changed.
    ///
    /// # Errors
    /// When it is not one.
    pub fn set(mut self, typed: &str) -> Result<Settings, InvalidSetting> {
        let form = || InvalidSetting::Form { text: typed.to_owned() };
        let (name, value) = typed.split_once('=').ok_or_else(form)?;
        let refuse =
            |wanted| InvalidSetting::Value { name: name.to_owned(), value: value.chars().take(60).collect(), wanted };
        let unknown = || InvalidSetting::Name { name: name.to_owned() };
        match name {
            "agent" => self.agent = agent(value).ok_or_else(|| refuse(SETTINGS[0].1))?,
            "model" => self.model = switch(value).ok_or_else(|| refuse(SETTINGS[1].1))?,
            "prompt" => self.prompt = prompt(value).ok_or_else(|| refuse(SETTINGS[2].1))?,
            "memory-writes" => self.memory_writes = switch(value).ok_or_else(|| refuse(SETTINGS[4].1))?,
            "new-runs" => self.new_runs = switch(value).ok_or_else(|| refuse(SETTINGS[5].1))?,
            "policy" => {
                let level = Tightening::ALL.into_iter().find(|level| level.name() == value);
                self.policy = level.ok_or_else(|| refuse(SETTINGS[6].1))?;
            }
            "fallback-answer" if value == "none" => self.fallback_answer = None,
            "fallback-answer" => {
                self.fallback_answer = Some(serde_json::from_str(value).map_err(|_| refuse(SETTINGS[10].1))?);
            }
            "restored" if value == "none" => self.restored = None,
            "restored" => {
                let at = value.parse().map_err(|_| refuse(SETTINGS[11].1))?;
                // What was released after one restore is not after the next.
                if self.restored.as_ref().is_none_or(|restored| restored.at != at) {
                    self.restored = Some(Restored { at, released: BTreeSet::new() });
                }
            }
            _ => match name.split_once('.').ok_or_else(unknown)? {
                ("tool", tool) => {
                    let tool = tool.parse().map_err(|_| unknown())?;
                    match switch(value).ok_or_else(|| refuse(SETTINGS[3].1))? {
                        Switch::On => self.tools_off.remove(&tool),
                        Switch::Off => self.tools_off.insert(tool),
                    };
                }
                ("restored", run) => {
                    let run = run.parse().map_err(|_| unknown())?;
                    let restored = self.restored.as_mut().ok_or_else(|| refuse(SETTINGS[12].1))?;
                    match value {
                        "released" if restored.released.len() < RELEASED_MAX => restored.released.insert(run),
                        "released" => {
                            return Err(refuse("at most 1,000 runs one by one; `restored=none` releases all"));
                        }
                        "held" => restored.released.remove(&run),
                        _ => return Err(refuse(SETTINGS[12].1)),
                    };
                }
                ("flag", flag) => {
                    let flag = flag.parse().map_err(|_| unknown())?;
                    match cohort(value).ok_or_else(|| refuse(SETTINGS[9].1))? {
                        Some(cohort) => self.flags.insert(flag, cohort),
                        None => self.flags.remove(&flag),
                    };
                }
                ("route", route) => {
                    let (task, part) = route.rsplit_once('.').ok_or_else(unknown)?;
                    let task = task.parse().map_err(|_| unknown())?;
                    let given = (value != "none").then_some(value);
                    let entry = self.routes.entry(task).or_default();
                    match part {
                        "model" if !value.is_empty() => entry.model = given.map(str::to_owned),
                        "model" => return Err(refuse(SETTINGS[7].1)),
                        "prompt" => {
                            let number = given.map(str::parse::<u32>).transpose().ok().filter(|n| *n != Some(0));
                            entry.prompt = number.ok_or_else(|| refuse(SETTINGS[8].1))?;
                        }
                        _ => return Err(unknown()),
                    }
                    self.routes.retain(|_, route| *route != super::Route::default());
                }
                _ => return Err(unknown()),
            },
        }
        Ok(self)
    }

    /// Whether typing its lines makes the same: a document can hold values that no setting takes.
    pub(super) fn can_be_typed(&self) -> bool {
        let typed = self.lines().into_iter().map(|(name, value)| format!("{name}={value}"));
        let again = typed.into_iter().try_fold(Settings::default(), |settings, one| settings.set(&one));
        again.is_ok_and(|again| again == *self)
    }

    /// Every setting that is not as it is by default, as it would be typed.
    pub fn lines(&self) -> BTreeMap<String, String> {
        let mut lines = BTreeMap::new();
        let mut line = |name: String, value: String| lines.insert(name, value);
        let agent = match &self.agent {
            AgentSwitch::On => None,
            AgentSwitch::Off => Some("off".to_owned()),
            AgentSwitch::Fallback => Some("fallback".to_owned()),
            AgentSwitch::Person { role } => Some(format!("person:{role}")),
        };
        agent.map(|value| line("agent".to_owned(), value));
        for (name, switch) in
            [("model", self.model), ("memory-writes", self.memory_writes), ("new-runs", self.new_runs)]
        {
            if switch == Switch::Off {
                line(name.to_owned(), "off".to_owned());
            }
        }
        match self.prompt {
            PromptSwitch::On => None,
            PromptSwitch::Routed => line("prompt".to_owned(), "routed".to_owned()),
            PromptSwitch::Default => line("prompt".to_owned(), "default".to_owned()),
            PromptSwitch::Off => line("prompt".to_owned(), "off".to_owned()),
        };
        if self.policy != Tightening::None {
            line("policy".to_owned(), self.policy.name().to_owned());
        }
        for tool in &self.tools_off {
            line(format!("tool.{tool}"), "off".to_owned());
        }
        for (task, route) in &self.routes {
            route.model.as_ref().map(|model| line(format!("route.{task}.model"), model.clone()));
            route.prompt.map(|version| line(format!("route.{task}.prompt"), version.to_string()));
        }
        for (name, flag) in &self.flags {
            let tenants = flag.tenants.iter().map(ToString::to_string);
            let parts: Vec<String> = std::iter::once(format!("{}%", flag.percent)).chain(tenants).collect();
            line(format!("flag.{name}"), parts.join(","));
        }
        self.fallback_answer.as_ref().map(|answer| line("fallback-answer".to_owned(), answer.to_string()));
        if let Some(Restored { at, released }) = &self.restored {
            line("restored".to_owned(), at.to_string());
            released.iter().for_each(|run| drop(line(format!("restored.{run}"), "released".to_owned())));
        }
        lines
    }

    /// What differs from `self` in `other`: name, value here, value there.
    pub fn diff(&self, other: &Settings) -> Vec<(String, Option<String>, Option<String>)> {
        let (here, there) = (self.lines(), other.lines());
        let names: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        let line = |name: &String| (name.clone(), here.get(name).cloned(), there.get(name).cloned());
        names.into_iter().map(line).filter(|(_, here, there)| here != there).collect()
    }
}

fn switch(value: &str) -> Option<Switch> {
    match value {
        "on" => Some(Switch::On),
        "off" => Some(Switch::Off),
        _ => None,
    }
}

fn agent(value: &str) -> Option<AgentSwitch> {
    match value {
        "on" => Some(AgentSwitch::On),
        "off" => Some(AgentSwitch::Off),
        "fallback" => Some(AgentSwitch::Fallback),
        _ => Some(AgentSwitch::Person { role: value.strip_prefix("person:")?.parse().ok()? }),
    }
}

fn prompt(value: &str) -> Option<PromptSwitch> {
    match value {
        "on" => Some(PromptSwitch::On),
        "routed" => Some(PromptSwitch::Routed),
        "default" => Some(PromptSwitch::Default),
        "off" => Some(PromptSwitch::Off),
        _ => None,
    }
}

/// `Some(None)` takes the flag away.
fn cohort(value: &str) -> Option<Option<Flag>> {
    if value == "off" {
        return Some(None);
    }
    let mut flag = Flag::default();
    for part in value.split(',') {
        match part.strip_suffix('%') {
            Some(percent) => flag.percent = percent.parse().ok().filter(|percent| *percent <= 100)?,
            None => {
                flag.tenants.insert(part.parse().ok()?);
            }
        }
    }
    Some(Some(flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(typed: &[&str]) -> Settings {
        typed.iter().fold(Settings::default(), |settings, one| settings.set(one).expect(one))
    }

    #[test]
    fn what_is_typed_is_shown_as_it_was_typed_and_undone_by_its_opposite() {
        let typed = [
            ("agent=person:finance", "agent=on"),
            ("agent=fallback", "agent=on"),
            ("agent=off", "agent=on"),
            ("model=off", "model=on"),
            ("prompt=default", "prompt=on"),
            ("tool.refund=off", "tool.refund=on"),
            ("memory-writes=off", "memory-writes=on"),
            ("new-runs=off", "new-runs=on"),
            ("policy=approve", "policy=none"),
            ("route.drill/steps.prompt=3", "route.drill/steps.prompt=none"),
            ("route.refund.model=openai:gpt-5", "route.refund.model=none"),
            ("flag.letters=25%,acme", "flag.letters=off"),
            (r#"fallback-answer={"call":"us"}"#, "fallback-answer=none"),
            ("restored=2026-09-21T14:13:20.000Z", "restored=none"),
        ];
        for (on, off) in typed {
            let settings = set(&[on]);
            let lines: Vec<String> = settings.lines().iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(lines, [on]);
            assert_eq!(settings.set(off), Ok(Settings::default()), "{off}");
        }
    }

    #[test]
    fn what_is_no_setting_is_refused_with_what_it_takes() {
        for (typed, said) in [
            ("model", "`model` is not of the form NAME=VALUE"),
            ("modle=off", "there is no setting `modle`"),
            ("tool.no tool=off", "there is no setting `tool.no tool`"),
            ("model=maybe", "`model` takes on or off, not `maybe`"),
            ("agent=person:", "`agent` takes on, off (hold runs), fallback, or person:ROLE, not `person:`"),
            ("route.refund.prompt=0", "`route.refund.prompt` takes a prompt's version, or none, not `0`"),
            ("flag.x=101%", "not `101%`"),
            ("restored=yesterday", "not `yesterday`"),
            ("restored.01JHD7Z3ZK8V6N5Q4R3S2T1W0X=released", "while `restored` is set"),
            ("restored.7=released", "there is no setting `restored.7`"),
        ] {
            let error = Settings::default().set(typed).expect_err(typed).to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn runs_are_released_one_by_one_until_the_next_restore() {
        let (run, first) = ("restored.01JHD7Z3ZK8V6N5Q4R3S2T1W0X", "restored=2026-09-21T14:13:20.000Z");
        let released = set(&[first, &format!("{run}=released")]);
        assert_eq!(released.lines().len(), 2);
        assert!(released.can_be_typed());
        assert_eq!(released.clone().set(first), Ok(released.clone()), "the same again");
        assert_eq!(released.clone().set(&format!("{run}=held")), Ok(set(&[first])));
        let next = "restored=2026-09-22T00:00:00.000Z";
        assert_eq!(released.set(next), Ok(set(&[next])));
    }

    #[test]
    fn a_diff_names_what_changed_only() {
        let before = set(&["model=off", "tool.refund=off"]);
        let after = set(&["tool.refund=off", "policy=deny"]);
        let diff = before.diff(&after);
        let expected =
            [("model".to_owned(), Some("off".to_owned()), None), ("policy".to_owned(), None, Some("deny".to_owned()))];
        assert_eq!(diff, expected);
    }

    #[test]
    fn a_stored_document_says_only_what_can_be_typed() {
        let stored = |settings: &str| {
            let text = format!(r#"{{"schema":1,"version":3,"change":null,"settings":{settings}}}"#);
            crate::controls::Document::parse(&text).map(|document| document.settings.lines().len())
        };
        assert_eq!(stored(r#"{"flags":{"new":{"percent":25}},"routes":{"refund":{"prompt":1}}}"#), Ok(2));
        for bad in [r#"{"flags":{"new":{"percent":125}}}"#, r#"{"routes":{"refund":{"prompt":0}}}"#] {
            assert!(stored(bad).is_err(), "{bad}");
        }
    }
}
