//! From a parsed command to its end.

use std::{
    io::BufReader,
    path::{Path, PathBuf},
};

use windlass::ids::Release;

use crate::{
    api::{Api, HttpApi},
    approvals, bench,
    cli::{ApprovalCommand, Approvals, Cli, Command, DeadLetters, Local, Options, Runs, Schedules},
    console::{Console, Paint},
    controls::{self, Controls},
    dead_letters,
    demo::{self, Approver},
    failure::Failure,
    functions, infra,
    local::{self, Json},
    package, policy,
    ports::{Ports, Queues},
    prompts::{self, Prompts},
    restore, runs, schedules,
    signals::Signals,
    stack,
    target::{self, Aws},
    variables::{self, Told},
};

/// Carries out a command on what its options name.
///
/// # Errors
/// When it fails.
pub async fn run(cli: &Cli, release: Release, console: &mut Console<'_>) -> Result<(), Failure> {
    match &cli.command {
        Command::Demo { yes } => play(*yes, cli.options.json, console).await,
        Command::Local(local) => stay(local, &cli.options, console).await,
        Command::Bench(wanted) => bench::run(wanted, cli.options.json, console).await,
        Command::Infra(command) => infra::run(command, cli.options.json, console),
        Command::Package(wanted) => package::run(wanted, cli.options.json, console),
        Command::Approvals(Approvals { command: ApprovalCommand::PublicKeys { file }, .. }) => {
            approvals::public_halves(file, console)
        }
        Command::Approvals(wanted) => {
            let target = target::api(&cli.options, &wanted.api)?;
            if target.local {
                console.note(format!("using the local stack at {}", target.url))?;
            }
            on_api(&cli.command, &HttpApi::new(target)?, cli.options.json, console).await
        }
        Command::Policy(command) => policy::run(command, cli.options.json, console),
        command => {
            let environment = std::env::var("AWS_ENDPOINT_URL").ok();
            let aws = target::aws(&cli.options, environment.as_deref())?;
            if let Aws::Local(url) = &aws {
                console.note(format!("using the local stack at {url}"))?;
            }
            let ports = Ports::on_aws(&cli.options, &aws, queues(command), release).await?;
            on_ports(command, &ports, cli.options.json, console).await
        }
    }
}

/// Carries out a command that works on ports.
///
/// # Errors
/// When it fails, or does not work on ports.
pub async fn on_ports(command: &Command, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Command::Runs(command) => runs::run(command, ports, json, console).await,
        Command::DeadLetters(command) => dead_letters::run(command, ports, json, console).await,
        Command::Controls(command) => controls::run(command, ports, json, console).await,
        Command::Restore(command) => restore::run(command, ports, json, console).await,
        Command::Prompts(command) => prompts::run(command, ports, json, console).await,
        Command::Schedules(command) => schedules::run(command, ports, json, console).await,
        _ => Err(elsewhere()),
    }
}

/// Carries out a command that works on the HTTP API.
///
/// # Errors
/// When it fails, or does not work on the API.
pub async fn on_api(command: &Command, api: &dyn Api, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Command::Approvals(wanted) => approvals::run(&wanted.command, api, json, console).await,
        _ => Err(elsewhere()),
    }
}

fn elsewhere() -> Failure {
    Failure::Usage { message: "the command does not work here".to_owned(), hint: "see `windlass --help`" }
}

/// Which queues a command needs: the URLs of the others need not be found out.
const fn queues(command: &Command) -> Queues {
    match command {
        Command::Controls(Controls::Set { dry_run: false, .. } | Controls::Revert { .. })
        | Command::Restore(_)
        | Command::Prompts(Prompts::Use { .. } | Prompts::Rollback { .. })
        | Command::Runs(Runs::Cancel { .. })
        | Command::Schedules(Schedules::Run { .. })
        | Command::DeadLetters(
            DeadLetters::List { .. }
            | DeadLetters::Show { .. }
            | DeadLetters::Plan(_)
            | DeadLetters::Replay { .. }
            | DeadLetters::Discard { .. },
        ) => Queues::Both,
        _ => Queues::None,
    }
}

async fn play(yes: bool, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let options = told(console)?;
    let options = stack::Options { binaries: functions::build().await?, ..options };
    let approver = if yes { Approver::Scenario } else { Approver::typing(BufReader::new(std::io::stdin())) };
    let (mut signals, http) = (Signals::listen()?, reqwest::Client::new());
    // Everything is in memory: whatever is at work ends with the stack.
    tokio::select! {
        played = demo::run(&options, &http, reader(json), approver, console.out()) => Ok(played?),
        code = signals.next() => Err(Failure::Interrupted { code }),
    }
}

/// A kit that is told what the environment and the file of variables say, once its functions would start with it.
fn told(console: &mut Console<'_>) -> Result<stack::Options, Failure> {
    let process =
        std::env::vars_os().map(|(name, value)| [name, value].map(|text| text.to_string_lossy().into_owned()));
    let told = Told::read(Path::new(variables::FILE), process.map(|[name, value]| (name, value)))?;
    let options = stack::Options::new(PathBuf::new()).with_environment(|name| told.get(name));
    for note in told.notes(&options.own_environment()) {
        console.note(note)?;
    }
    options.check()?;
    Ok(options)
}

async fn stay(wanted: &Local, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut stack = told(console)?;
    stack.binaries = functions::build().await?;
    stack.data = wanted.data.clone();
    stack.api_port = wanted.api_port;
    stack.aws_port = wanted.aws_port;
    if let Some(logs) = &wanted.logs {
        stack.logs = windlass_local::Logs::Directory(logs.clone());
    }
    let (mut signals, http) = (Signals::listen()?, reqwest::Client::new());
    let stop = async || {
        signals.next().await;
    };
    Ok(local::run(&stack, &http, &options.local_file, reader(options.json), console, stop).await?)
}

const fn reader(json: bool) -> Json {
    if json { Json::Yes } else { Json::No }
}

/// Writes why a command failed and what can be done about it; the exit code.
pub fn explain(failure: &Failure, console: &mut Console<'_>) -> u8 {
    let (red, reset) = match console.paint() {
        Paint::Coloured => ("\u{1b}[31m", "\u{1b}[0m"),
        Paint::Plain => ("", ""),
    };
    // There is nowhere to say that standard error cannot be written.
    let _ = console.note(format!("{red}error:{reset} {}", failure.said()));
    if let Some(hint) = failure.hint() {
        let _ = console.note(format!("hint: {hint}"));
    }
    failure.code()
}
