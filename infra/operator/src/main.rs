//! Wires the `windlass` command.

use std::{
    io::{IsTerminal as _, stderr, stdout},
    process::ExitCode,
};

use clap::Parser as _;
use windlass_operator::{
    cli::Cli,
    command::{explain, run},
    console::{Console, Paint},
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Only fails when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut out, mut err) = (stdout(), stderr());
    let paint = Paint::of(out.is_terminal() && err.is_terminal(), std::env::var("NO_COLOR").ok().as_deref());
    let mut console = Console::new(&mut out, &mut err, paint);
    match run(&cli, windlass_operator::release(), &mut console).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(explain(&failure, &mut console)),
    }
}
