//! What processes use, as Linux counts it (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>).

use std::time::Duration;

/// Linux counts processor time in hundredths of a second (`sysconf(_SC_CLK_TCK)` is 100 on every architecture it ships on).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process, or of the calling thread as `thread-self`, user and system; nothing when it is gone.
pub(super) fn processor_time(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name may hold anything; what follows its closing parenthesis is fields, of which the 12th and 13th are times.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
}

/// Processor time of processes together.
pub(super) fn of_all(processes: &[u32]) -> Duration {
    processes.iter().map(|process| processor_time(&process.to_string())).sum()
}

/// The most memory that a process had at once, in MiB.
pub(super) fn peak_memory_mib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
