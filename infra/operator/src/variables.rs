//! What a kit on this machine is told: the variables of this process, and below them those of the file `.env`. Nothing of either is ignored
//! without a word.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use windlass::config::VARIABLES;

use crate::stack::{MODEL_FALLBACK_KEY, MODEL_KEY};

/// The file, in the folder that the command is typed in.
pub const FILE: &str = ".env";

/// What this command reads of its environment besides the functions' variables.
const OF_THE_COMMAND: [&str; 4] = [MODEL_KEY, MODEL_FALLBACK_KEY, "WINDLASS_API_URL", "WINDLASS_TOKEN"];

/// The first word of this command's own variables.
const OWN_FAMILY: &str = "WINDLASS";

/// A first word of at least so many letters is told from a slip of it by one letter: shorter ones are like too many other words.
const FAMILY_CHARS_MIN: usize = 5;

/// The file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` cannot be read: {source}")]
pub struct UnreadableFile {
    /// Where it is.
    pub path: String,
    /// Why.
    pub source: dotenvy::Error,
}

/// Variables, and where they are set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    /// The file that was read, if there is one.
    read: Option<PathBuf>,
    /// What the file sets more than once.
    twice: BTreeSet<String>,
}

impl Told {
    /// The variables of `process`, and of the file at `path` if there is one.
    ///
    /// # Errors
    /// When there is a file that is not one of variables; nothing of it is used then.
    pub fn read(path: &Path, process: impl IntoIterator<Item = (String, String)>) -> Result<Told, UnreadableFile> {
        let mut told = Told { process: process.into_iter().collect(), ..Told::default() };
        let unreadable = |source| UnreadableFile { path: path.display().to_string(), source };
        let lines = match dotenvy::from_path_iter(path) {
            Ok(lines) => lines,
            Err(error) if error.not_found() => return Ok(told),
            Err(error) => return Err(unreadable(error)),
        };
        for line in lines {
            let (name, value) = line.map_err(unreadable)?;
            if told.file.insert(name.clone(), value).is_some() {
                told.twice.insert(name);
            }
        }
        told.read = Some(path.to_owned());
        Ok(told)
    }

    /// A variable: that of the process, else that of the file.
    pub fn get(&self, name: &str) -> Option<String> {
        self.process.get(name).or_else(|| self.file.get(name)).cloned()
    }

    /// What is to be said of them, a line each: which file was read, and whatever of it or of the environment has no effect. `own` is what
    /// the stack sets itself.
    pub fn notes(&self, own: &BTreeMap<String, String>) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(path) = &self.read {
            let both: Vec<&str> =
                self.file.keys().map(String::as_str).filter(|name| self.process.contains_key(*name)).collect();
            let count = self.file.len();
            let before = match both.as_slice() {
                [] => String::new(),
                both => format!("; the environment goes before it for {}", quoted(both)),
            };
            let plural = if count == 1 { "" } else { "s" };
            notes.push(format!("read {count} variable{plural} from {}{before}", path.display()));
        }
        notes.extend(
            self.twice.iter().map(|name| format!("warning: `{FILE}` sets `{name}` twice; the last one counts")),
        );
        let kept: Vec<&str> = own
            .iter()
            .filter(|(name, value)| self.get(name).is_some_and(|set| set != **value))
            .map(|(name, _)| name.as_str())
            .collect();
        if !kept.is_empty() {
            notes.push(format!("warning: the stack sets {} itself; what you set is not used", quoted(&kept)));
        }
        for (name, key) in [("MODEL_SECRET", MODEL_KEY), ("MODEL_FALLBACK_SECRET", MODEL_FALLBACK_KEY)] {
            if self.get(key).is_some() && self.get(name).is_none() {
                notes.push(format!(
                    "warning: `{key}` is kept under the name in `{name}`, which is not set; it is not used"
                ));
            }
        }
        let unread = |name: &&String| !is_read(name) && (self.file.contains_key(*name) || is_like_ours(name));
        let names: BTreeSet<&String> = self.process.keys().chain(self.file.keys()).collect();
        notes.extend(names.into_iter().filter(unread).map(|name| {
            let nearest =
                nearest(name).map_or_else(String::new, |nearest| format!("; the nearest name is `{nearest}`"));
            format!("warning: nothing reads `{name}`{nearest}")
        }));
        notes
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn known() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|variable| variable.name).chain(OF_THE_COMMAND)
}

fn is_read(name: &str) -> bool {
    known().any(|known| known == name)
}

/// First words that several of our variables share, and this command's own.
fn families() -> BTreeSet<&'static str> {
    let first = |name: &'static str| name.split_once('_').map(|(first, _)| first);
    let mut seen = BTreeSet::new();
    let shared = VARIABLES.iter().filter_map(|variable| first(variable.name)).filter(|word| !seen.insert(*word));
    shared.collect::<BTreeSet<_>>().into_iter().chain([OWN_FAMILY]).collect()
}

/// Whether somebody who set this may have meant one of ours: it begins as several of them do, up to a letter, or is like one.
fn is_like_ours(name: &str) -> bool {
    let of_a_family = name.split_once('_').is_some_and(|(first, _)| {
        let near = |family: &&str| family.len() >= FAMILY_CHARS_MIN && strsim::osa_distance(first, family) <= 1;
        families().iter().any(|family| *family == first || near(family))
    });
    // A slip changes a letter or two: one in five at most.
    of_a_family || known().any(|known| strsim::osa_distance(name, known) <= known.len() / 5)
}

/// The known name that is most like this one, unless it differs in more than half.
fn nearest(name: &str) -> Option<&'static str> {
    let near = known().map(|known| (strsim::osa_distance(name, known), known));
    near.min().filter(|(distance, known)| *distance <= known.len() / 2 || is_like_ours(name)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn told(file: &str, process: &[(&str, &str)]) -> Result<Told, UnreadableFile> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        fs::write(&path, file).expect("a file");
        let process = process.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Told::read(&path, process).map(|told| Told { read: Some(FILE.into()), ..told })
    }

    fn notes(file: &str, process: &[(&str, &str)]) -> Vec<String> {
        let own = BTreeMap::from([("RUNS_TABLE".to_owned(), "windlass-runs".to_owned())]);
        told(file, process).expect("variables").notes(&own)
    }

    #[test]
    fn the_environment_goes_before_the_file_and_the_file_before_nothing() {
        let told = told("STEPS_MAX=7\nexport LOG_LEVEL=debug # more\n", &[("STEPS_MAX", "9")]).expect("variables");
        let got = ["STEPS_MAX", "LOG_LEVEL", "MODEL"].map(|name| told.get(name));
        assert_eq!(got, [Some("9".to_owned()), Some("debug".to_owned()), None]);
        let said = notes("STEPS_MAX=7\nLOG_LEVEL=debug\n", &[("STEPS_MAX", "9")]);
        assert_eq!(said, ["read 2 variables from .env; the environment goes before it for `STEPS_MAX`"]);
    }

    #[test]
    fn without_a_file_there_is_nothing_to_say_and_a_file_that_is_none_is_refused() {
        let told = Told::read(Path::new("/nowhere/.env"), [("PATH".to_owned(), "/bin".to_owned())]).expect("no file");
        assert_eq!(told.notes(&BTreeMap::new()), Vec::<String>::new());
        let error = self::told("STEPS_MAX = 7 8\n=x\n", &[]).expect_err("no variables").to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn what_nothing_reads_is_warned_about_with_the_nearest_name() {
        let warned = |name: &str| notes("", &[(name, "x")]).pop().unwrap_or_default();
        for (slip, nearest) in [
            ("STEP_MAX", "STEPS_MAX"),
            ("LOG_LEVLE", "LOG_LEVEL"),
            ("MCP_SERVER", "MCP_SERVERS"),
            ("WINDLASS_MODEL_KEYS", "WINDLASS_MODEL_KEY"),
            ("BUDGET_ACTOR_DAY_MICRO_EUR", "BUDGET_ACTOR_DAY_MICRO_USD"),
        ] {
            assert_eq!(warned(slip), format!("warning: nothing reads `{slip}`; the nearest name is `{nearest}`"));
        }
        for slip in ["MODLE_PROVIDER", "MODEL_PROVIDER"] {
            assert!(warned(slip).contains("; the nearest name is `MODEL"), "{}", warned(slip));
        }
        for other in
            ["PATH", "HOME", "LANG", "CARGO_HOME", "AWS_REGION", "EDITOR", "SHELL", "MEMORY_PRESSURE_WATCH", "USER"]
        {
            assert_eq!(warned(other), "read 0 variables from .env", "{other} is somebody else's");
        }
        let said = notes("EDITOR=vi\nSTEPS_MAX=1\nSTEPS_MAX=2\n", &[]);
        assert_eq!(
            said[1..],
            ["warning: `.env` sets `STEPS_MAX` twice; the last one counts", "warning: nothing reads `EDITOR`"]
        );
    }

    #[test]
    fn what_the_stack_sets_itself_and_a_key_without_a_name_are_warned_about() {
        let said = notes("RUNS_TABLE=mine\nWINDLASS_MODEL_KEY=hunter2\n", &[]);
        assert_eq!(said[1], "warning: the stack sets `RUNS_TABLE` itself; what you set is not used");
        assert!(said[2].contains("`WINDLASS_MODEL_KEY` is kept under the name in `MODEL_SECRET`"), "{}", said[2]);
        assert!(!said.concat().contains("hunter2"));
        assert_eq!(notes("RUNS_TABLE=windlass-runs\n", &[]).len(), 1, "the same value needs no word");
    }

    #[test]
    fn the_example_can_be_used_as_it_is_with_every_line_switched_on() {
        let example = include_str!("../../../.env.example");
        let off = |line: &&str| line.starts_with(|c: char| c.is_ascii_uppercase());
        let on = |line: &'static str| line.strip_prefix('#').filter(off).unwrap_or(line);
        let text: Vec<&str> = example.lines().map(on).collect();
        let told = told(&text.join("\n"), &[]).expect("variables");
        let missing: Vec<_> = VARIABLES.iter().filter(|variable| told.get(variable.name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let prices = told.get("MODEL_PRICES").expect("prices");
        assert!(serde_json::from_str::<serde_json::Value>(&prices).is_ok(), "quotation marks stay: {prices}");
        assert!(told.notes(&BTreeMap::new()).len() == 1, "{:?}", told.notes(&BTreeMap::new()));
    }
}
