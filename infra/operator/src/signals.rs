//! Being told to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell adds to the number of the signal that ended a command.
const ENDED_BY: u8 = 128;

/// Every signal that asks a command to end: `SIGINT` (Ctrl-C), `SIGTERM` (what init systems, containers and `kill` send) and `SIGHUP` (its
/// terminal is gone). From now on none of them ends this process by itself.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the operating system does not let it.
    pub fn listen() -> io::Result<Signals> {
        let on = |kind| signal(kind);
        Ok(Signals {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    /// The exit code of a command that the next signal ends, once it comes.
    pub async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        };
        u8::try_from(kind.as_raw_value()).map_or(ENDED_BY, |number| ENDED_BY.saturating_add(number))
    }
}
