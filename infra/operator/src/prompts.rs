//! `windlass prompts`: versions of what models are asked with.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use windlass::{
    controls::setting::InvalidSetting,
    ids::{Actor, Task},
    prompts::{PROMPT_BYTES_MAX, SavedPrompt, digest},
};

use crate::{
    cli::By,
    console::Console,
    controls::{hand, tell},
    failure::Failure,
    ports::Ports,
    table::Table,
};

/// The most versions that one listing shows.
const LIST_MAX: u16 = 1_000;

/// How many changes of the controls are searched for the version before the one in force.
const SEARCHED_MAX: usize = 1_000;

/// How often a save that lost its number to another is tried with the next.
const SAVES_MAX: u32 = 5;

/// `windlass prompts`.
#[derive(Debug, Subcommand)]
pub enum Prompts {
    /// Keep a text as the next version of a task's prompt; nothing uses it yet
    #[command(after_help = "Examples:\n  windlass prompts save refund prompt.txt --note 'politer' --by olga")]
    Save {
        /// The task
        task: Task,
        /// The file with the text
        file: PathBuf,
        /// What is new in it
        #[arg(long)]
        note: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// List the versions of a task's prompt, the newest first
    #[command(after_help = "Examples:\n  windlass prompts list refund")]
    List {
        /// The task
        task: Task,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=i64::from(LIST_MAX)))]
        limit: u16,
    },
    /// Show one version with its text
    #[command(after_help = "Examples:\n  windlass prompts show refund 3")]
    Show {
        /// The task
        task: Task,
        /// The version
        version: u32,
    },
    /// Show what differs between two versions, line by line
    #[command(after_help = "Examples:\n  windlass prompts diff refund 2 3")]
    Diff {
        /// The task
        task: Task,
        /// One version
        from: u32,
        /// The other
        to: u32,
    },
    /// Ask with a version from now on; runs that have begun keep theirs
    #[command(after_help = "Examples:\n  windlass prompts use refund 3 --why 'evals passed' --by olga")]
    Use {
        /// The task
        task: Task,
        /// The version
        version: u32,
        /// Why; it is kept with the change
        #[arg(long)]
        why: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// Ask with the version that was in use before this one
    #[command(after_help = "Examples:\n  windlass prompts rollback refund --why 'too chatty' --by olga")]
    Rollback {
        /// The task
        task: Task,
        /// Why; it is kept with the change
        #[arg(long)]
        why: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
}

/// Carries out a command.
///
/// # Errors
/// When it fails.
pub async fn run(command: &Prompts, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Prompts::Save { task, file, note, by } => save(task, file, note, &by.by, ports, json, console).await,
        Prompts::List { task, limit } => list(task, usize::from(*limit), ports, json, console).await,
        Prompts::Show { task, version } => {
            let found = version_of(task, *version, ports).await?;
            if json {
                return Ok(console.json(&found)?);
            }
            console.note(format!("{} of `{task}` by {} at {}: {}", found.name(), found.by, found.at, found.note))?;
            Ok(console.line(found.text)?)
        }
        Prompts::Diff { task, from, to } => {
            let (from, to) = (version_of(task, *from, ports).await?, version_of(task, *to, ports).await?);
            let lines = changed_lines(&from.text, &to.text);
            if json {
                return Ok(console.json(&json!({ "from": from.name(), "to": to.name(), "lines": lines }))?);
            }
            lines.iter().try_for_each(|line| console.line(line)).map_err(Failure::from)
        }
        Prompts::Use { task, version, why, by } => {
            version_of(task, *version, ports).await?;
            route(task, Some(*version), why, &by.by, ports, json, console).await
        }
        Prompts::Rollback { task, why, by } => {
            let before = version_before(task, ports).await?;
            route(task, before, why, &by.by, ports, json, console).await
        }
    }
}

async fn save(
    task: &Task,
    file: &Path,
    note: &str,
    by: &Actor,
    ports: &Ports,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let unusable = |message: String| Failure::Usage { message, hint: "give a file of UTF-8 text" };
    let text = std::fs::read_to_string(file).map_err(|error| unusable(format!("`{}`: {error}", file.display())))?;
    if text.trim().is_empty() || text.len() > PROMPT_BYTES_MAX {
        return Err(unusable(format!("`{}` is empty or longer than {PROMPT_BYTES_MAX} bytes", file.display())));
    }
    for _ in 0..SAVES_MAX {
        let newest = ports.prompts.list(task, 1).await?.first().map_or(0, |newest| newest.version);
        let saved = SavedPrompt {
            task: task.clone(),
            version: newest + 1,
            digest: digest(&text),
            text: text.clone(),
            by: by.clone(),
            at: ports.clock.now(),
            note: note.to_owned(),
        };
        if ports.prompts.save(&saved).await? {
            return match json {
                true => Ok(console.json(&saved)?),
                false => Ok(console.line(format!("saved {} of `{task}`", saved.name()))?),
            };
        }
    }
    Err(Failure::Usage { message: "others kept saving versions".to_owned(), hint: "try again" })
}

async fn list(task: &Task, limit: usize, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let saved = ports.prompts.list(task, limit).await?;
    let used = ports.controls.read().await?.settings.route(task).prompt;
    if json {
        return Ok(console.json(&json!({ "in_use": used, "versions": saved }))?);
    }
    let mut table = Table::new(&["VERSION", "IN USE", "AT", "BY", "BYTES", "NOTE"]);
    for prompt in saved {
        let mark = if Some(prompt.version) == used { "yes" } else { "" };
        let bytes = prompt.text.len().to_string();
        table.row([prompt.name(), mark.to_owned(), prompt.at.to_string(), prompt.by.to_string(), bytes, prompt.note]);
    }
    Ok(console.text(table.text(console.paint()))?)
}

async fn version_of(task: &Task, version: u32, ports: &Ports) -> Result<SavedPrompt, Failure> {
    let missing = || Failure::Usage {
        message: format!("there is no version {version} of the prompt of `{task}`"),
        hint: "list versions with `windlass prompts list TASK`",
    };
    ports.prompts.version(task, version).await?.ok_or_else(missing)
}

/// What was routed to before what is routed to now; `None` is the prompt that comes with the release.
async fn version_before(task: &Task, ports: &Ports) -> Result<Option<u32>, Failure> {
    let now = ports.controls.read().await?.settings.route(task).prompt;
    let history = ports.controls.history(SEARCHED_MAX).await?;
    let routed = history.iter().map(|document| document.settings.route(task).prompt);
    match (routed.into_iter().find(|earlier| *earlier != now), now) {
        (Some(earlier), _) => Ok(earlier),
        (None, Some(_)) => Ok(None),
        (None, None) => Err(Failure::Usage {
            message: format!("the prompt of `{task}` was never changed"),
            hint: "see `windlass prompts list TASK`",
        }),
    }
}

async fn route(
    task: &Task,
    version: Option<u32>,
    why: &str,
    by: &Actor,
    ports: &Ports,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let value = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
    let setting = format!("route.{task}.prompt={value}");
    let edit = |now: windlass::controls::Settings| -> Result<_, InvalidSetting> { now.set(&setting) };
    let made = hand(ports, by, why).change(None, edit).await?;
    tell(&made, ports, json, console).await
}

/// Lines that are in one text only, in their order: those taken away, then those added, around what both begin and end with.
fn changed_lines(from: &str, to: &str) -> Vec<String> {
    let (from, to): (Vec<&str>, Vec<&str>) = (from.lines().collect(), to.lines().collect());
    let head = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let rest = from.len().min(to.len()) - head;
    let tail = from.iter().rev().zip(to.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let gone = from[head..from.len() - tail].iter().map(|line| format!("- {line}"));
    gone.chain(to[head..to.len() - tail].iter().map(|line| format!("+ {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_is_between_the_common_beginning_and_end() {
        assert_eq!(changed_lines("a\nb\nc\nd", "a\nx\nd"), ["- b", "- c", "+ x"]);
        assert_eq!(changed_lines("a", "a\nb"), ["+ b"]);
        assert_eq!(changed_lines("a\na", "a"), ["- a"]);
        assert!(changed_lines("a\nb", "a\nb").is_empty());
    }
}
