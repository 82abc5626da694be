//! `windlass infra`: the template against the code, and the release in the template.

use std::path::Path;

use windlass::ids::Release;

use crate::{
    cli::Infra,
    console::Console,
    failure::Failure,
    infra_check::{Subject, TEMPLATE},
};

/// What stands before the release in the template.
const RELEASE_KEY: &str = "        RELEASE: ";

/// Carries out `windlass infra`.
///
/// # Errors
/// When files cannot be read or written, or something is wrong with them.
pub fn run(command: &Infra, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Infra::Check { root } => check(root, json, console),
        Infra::Stamp { release, root } => stamp(&root.join(TEMPLATE), release, console),
    }
}

fn check(root: &Path, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let subject = Subject::read(root)?;
    let findings = subject.check();
    if json {
        console.json(&findings)?;
    } else {
        for finding in &findings {
            let line = finding.line.map(|line| format!("{TEMPLATE}:{line} ")).unwrap_or_default();
            console.line(format!("{line}{} ({}): {}", finding.at, finding.rule, finding.problem))?;
        }
        if findings.is_empty() {
            let deployments: Vec<&str> = subject.deployments.iter().map(|one| one.name.as_str()).collect();
            console.note(format!("the template fits the code, for {}", deployments.join(", ")))?;
        }
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(Failure::Unfit { count }),
    }
}

/// Writes the release into the template, as the literal that makes a version of every function.
fn stamp(template: &Path, release: &Release, console: &mut Console<'_>) -> Result<(), Failure> {
    let text = std::fs::read_to_string(template)?;
    let mut stamped = 0;
    let lines = text.lines().map(|line| match line.strip_prefix(RELEASE_KEY) {
        Some(_) => {
            stamped += 1;
            format!("{RELEASE_KEY}{release}\n")
        }
        None => format!("{line}\n"),
    });
    let text: String = lines.collect();
    if stamped != 1 {
        let message = format!("`{}` has {stamped} lines for the release, not one", template.display());
        return Err(Failure::Usage { message, hint: "give it one line `RELEASE: …` in `Globals`" });
    }
    std::fs::write(template, text)?;
    console.note(format!("the template says release {release}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Paint;

    #[test]
    fn a_release_is_written_as_a_literal_and_nothing_else_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("template.yaml");
        let text = |release: &str| format!("Globals:\n{RELEASE_KEY}{release}\n        OTHER: 1\n");
        std::fs::write(&path, text("unstamped")).expect("written");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut err, Paint::Plain);
        stamp(&path, &"0a1b2c".parse().expect("a release"), &mut console).expect("stamped");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text("0a1b2c"));
        std::fs::write(&path, "Globals:\n").expect("written");
        let refused = stamp(&path, &"0a1b2c".parse().expect("a release"), &mut console).expect_err("refused");
        assert!(refused.to_string().contains("0 lines"), "{refused}");
    }
}
