//! Signals to processes, by the command that everybody has: nothing here may be unsafe.

use std::process::{Command, Stdio};

/// Sends a signal (`KILL`, `STOP`, `CONT`); whether there was somebody to take it.
pub fn send(signal: &str, process: u32) -> bool {
    let sent = Command::new("kill").args([format!("-{signal}"), process.to_string()]).stderr(Stdio::null()).status();
    sent.is_ok_and(|status| status.success())
}

/// Whether a process is there and has not ended.
pub fn is_alive(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
