//! A kit whose lines are kept, and the command beside it.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_json::Value;
use windlass::run::entry::Entry;
use windlass_local::Logs;
use windlass_operator::{
    cli::Cli,
    command,
    console::{Console, Paint},
    stack::{FUNCTIONS, Options},
};
use windlass_tests::local_kit::{Kit, binaries};

/// The checkout.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Options of a kit that says as much as it can, to files of `folder`.
pub async fn talkative(folder: &Path) -> Options {
    let logs = Logs::Directory(folder.to_owned());
    let env = [("LOG_LEVEL".to_owned(), "trace".to_owned())].into();
    Options { logs, env, ..Options::new(binaries().await) }
}

/// The files of lines, one for each function that said something.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    FUNCTIONS.map(|function| folder.join(format!("{function}.log"))).into_iter().filter(|file| file.exists()).collect()
}

/// Everything that was said.
pub fn lines(folder: &Path) -> String {
    files(folder).iter().map(|file| std::fs::read_to_string(file).expect("it logged")).collect()
}

/// What the command writes when it is typed beside the kit: data and messages.
pub async fn types(kit: &Kit, typed: &[&str]) -> String {
    let words = ["windlass", "--endpoint-url", &kit.address.aws].into_iter().chain(typed.iter().copied());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{typed:?}: {error}"));
    let mut console = Console::new(&mut out, &mut err, Paint::Plain);
    if let Err(failure) = command::run(&cli, windlass_operator::release(), &mut console).await {
        command::explain(&failure, &mut console);
    }
    out.extend(err);
    String::from_utf8(out).expect("it is text")
}

/// A run's journal as it is stored.
pub async fn stored(kit: &Kit, run: &str) -> Vec<Entry> {
    use windlass::{aws, clock::SystemClock, journal::Journal as _};
    let clients = aws::clients::Clients::at(&kit.address.aws);
    let clock = std::sync::Arc::new(SystemClock);
    let runs = aws::Runs::new(clients.dynamodb(), "windlass-runs", "windlass-idempotency", clock);
    runs.load(run.parse().expect("a run"), 1).await.expect("the store answers")
}

/// The lines that are JSON.
pub fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
