//! The function binaries, built by cargo from the checkout that the command runs in.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::process::Command;

use crate::stack::FUNCTIONS;

/// A function that does nothing.
const BARE: &str = "bare";

/// The function binaries could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no checkout to build from.
    #[error("there is no checkout of the kit at `{root}`")]
    NoCheckout {
        /// Where it was looked for.
        root: String,
    },
    /// Cargo could not be run.
    #[error("`{cargo}` could not be run: {source}")]
    NoCargo {
        /// The program.
        cargo: String,
        /// Why.
        source: std::io::Error,
    },
    /// Cargo said no; its own messages tell why.
    #[error("`cargo build` of the functions failed ({status})")]
    Failed {
        /// Its exit.
        status: String,
    },
    /// Cargo built, but not what was asked.
    #[error("`cargo build` named no binary for `{function}`")]
    Unnamed {
        /// The function.
        function: &'static str,
    },
}

/// The checkout that this command was built from.
pub fn checkout() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    built_in.ancestors().nth(2).unwrap_or(built_in).to_owned()
}

/// Builds the functions (a second time costs almost nothing) and says in which folder they are. Cargo's progress goes to standard error.
///
/// # Errors
/// When they cannot be built.
pub async fn build() -> Result<PathBuf, BuildError> {
    let messages = cargo_build([]).await?;
    let mut folder = PathBuf::new();
    for function in FUNCTIONS {
        folder = named(&messages, function)?.parent().map(Path::to_owned).unwrap_or_default();
    }
    Ok(folder)
}

/// Builds a function that does nothing, for comparison, and says where it is.
///
/// # Errors
/// When it cannot be built.
pub async fn build_bare() -> Result<PathBuf, BuildError> {
    let messages = cargo_build(["--example", BARE]).await?;
    named(&messages, BARE)
}

/// Builds what the arguments say of this command's package and the functions'; what cargo printed of it. All of them at once, so that
/// every shared crate has the features that it has already been compiled with.
async fn cargo_build<const N: usize>(arguments: [&str; N]) -> Result<String, BuildError> {
    let root = checkout();
    if !root.join("functions").is_dir() {
        return Err(BuildError::NoCheckout { root: root.display().to_string() });
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(&cargo);
    command.current_dir(&root).args(["build", "--message-format=json-render-diagnostics"]);
    // What `cargo run` and `cargo test` say about their own package would make build scripts that watch it run again, each time.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_about_a_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.args(["windlass-operator"].into_iter().chain(FUNCTIONS).flat_map(|name| ["-p", name]));
    command.args(arguments);
    if let Some(profile) = profile() {
        command.args(["--profile", &profile]);
    }
    let output = command.stderr(Stdio::inherit()).stdin(Stdio::null()).output().await;
    let output = output.map_err(|source| BuildError::NoCargo { cargo, source })?;
    if !output.status.success() {
        return Err(BuildError::Failed { status: output.status.to_string() });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn named(messages: &str, binary: &'static str) -> Result<PathBuf, BuildError> {
    let executable = messages.lines().filter_map(|line| executable(line, binary)).next_back();
    executable.ok_or(BuildError::Unnamed { function: binary })
}

/// The profile that this command was built with, by the folder that it is in; `None` for the default one and for whatever is not in a
/// folder of cargo's.
fn profile() -> Option<String> {
    let executable = std::env::current_exe().ok()?;
    let folder = executable.ancestors().skip(1).find(|folder| !folder.ends_with("deps"))?;
    let name = folder.file_name()?.to_str().filter(|name| *name != "debug")?;
    folder.parent()?.join("CACHEDIR.TAG").exists().then(|| name.to_owned())
}

/// The variables that cargo sets for one package (<https://doc.rust-lang.org/cargo/reference/environment-variables.html>).
fn is_about_a_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_BIN_")
        || matches!(
            name,
            "CARGO_MANIFEST_DIR"
                | "CARGO_MANIFEST_PATH"
                | "CARGO_CRATE_NAME"
                | "CARGO_PRIMARY_PACKAGE"
                | "CARGO_TARGET_TMPDIR"
        )
}

fn executable(line: &str, function: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_it = message["reason"] == "compiler-artifact"
        && message["target"]["name"] == function
        && (message["target"]["kind"][0] == "bin" || message["target"]["kind"][0] == "example");
    message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
}
