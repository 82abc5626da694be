//! The process group of all function processes, which does not outlive the stack: Lambda's sandboxes end with their host, and so that
//! no invocation is at work after its deadline, nothing here may go on when nobody is left to enforce it.
//!
//! ```text
//! stack ──(pipe)──► sh: leader of the group, waits for the pipe to close
//!    └── function processes, in that group
//! stack dies, however ── the pipe closes ── sh: kill -KILL 0, the whole group and itself
//! ```

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

/// Waits until nobody holds the other end of its standard input any more. Signal 9 also ends what is stopped.
const LEADER: &str = "read _; kill -KILL 0";

/// The group, as long as this is kept.
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    leader: Child,
}

impl ProcessGroup {
    pub(crate) fn start() -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", LEADER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { leader: command.process_group(0).spawn()? })
    }

    /// The group's number, for a process that is to join it. None when it cannot be one.
    pub(crate) fn id(&self) -> Option<i32> {
        i32::try_from(self.leader.id()).ok()
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // Whoever drops a stack has killed its processes. The leader may be dead already.
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const KILLED: Option<i32> = Some(9);

    #[test]
    fn whoever_is_in_the_group_dies_when_the_pipe_closes_even_stopped() {
        let mut group = ProcessGroup::start().expect("sh is there");
        let join = |program: &str| {
            let mut command = Command::new(program);
            command.arg("600").process_group(group.id().expect("a number")).spawn().expect("it starts")
        };
        let (mut running, mut stopped) = (join("sleep"), join("sleep"));
        let stop = Command::new("kill").args(["-STOP", &stopped.id().to_string()]).status();
        assert!(stop.is_ok_and(|status| status.success()));
        assert!(matches!(running.try_wait(), Ok(None)));
        // What the operating system does to the pipe of a process that dies.
        drop(group.leader.stdin.take());
        assert_eq!(running.wait().map(|status| status.signal()).ok().flatten(), KILLED);
        assert_eq!(stopped.wait().map(|status| status.signal()).ok().flatten(), KILLED);
    }
}
