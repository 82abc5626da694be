//! The local stack as a process that can be killed and started again on the same data.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command as Blocking, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};
use windlass_operator::{local::Address, stack::FUNCTIONS};

use crate::signals;

/// How long a stack may take until it says where it is.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// How often it is tried to start one: a function may fail to at the moment.
const STARTS_MAX: usize = 10;

/// How long function processes may outlive their stack.
const ORPHANS_WITHIN: Duration = Duration::from_secs(2);

/// A write beyond the limit is to fail, as it does on a full disk, and not to kill: signals that are ignored stay so for whoever is
/// started.
const WITHOUT_FILE_SIZE_SIGNAL: &str = "trap '' XFSZ; exec \"$0\" \"$@\"";

/// A running stack.
pub struct StackProcess {
    program: PathBuf,
    settings: Value,
    child: Child,
    /// Kept open, as by somebody who reads.
    _out: BufReader<ChildStdout>,
    /// Where it is.
    pub address: Address,
}

impl StackProcess {
    /// Starts `program` (the binary `stack_process`) with its settings and waits until every function polls.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(program: PathBuf, settings: Value) -> StackProcess {
        for _ in 0..STARTS_MAX {
            let mut child = Command::new("sh")
                .args(["-c", WITHOUT_FILE_SIZE_SIGNAL])
                .arg(&program)
                .arg(settings.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("`sh` starts");
            let mut out = BufReader::new(child.stdout.take().expect("its output"));
            let mut line = String::new();
            let said = timeout(STARTS_WITHIN, out.read_line(&mut line)).await;
            if said.is_ok()
                && let Ok(address) = serde_json::from_str(&line)
            {
                return StackProcess { program, settings, child, _out: out, address };
            }
            let _ = child.kill().await;
            sleep(Duration::from_millis(500)).await;
        }
        panic!("the stack does not start")
    }

    fn id(&self) -> u32 {
        self.child.id().expect("it has not ended")
    }

    /// The function processes that run now, with their function's name.
    pub fn processes(&self) -> BTreeMap<u32, String> {
        let own = self.id().to_string();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter_map(|id| {
            let status = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let mut fields = status.rsplit(") ").next()?.split(' ').skip(1);
            let name = fs::read_link(format!("/proc/{id}/exe")).ok()?.file_name()?.to_str()?.to_owned();
            (fields.next()? == own && FUNCTIONS.contains(&name.as_str())).then_some((id, name))
        })
        .collect()
    }

    /// Kills the stack; its function processes end with it, whatever they are at.
    ///
    /// # Panics
    /// When one of them does not.
    pub async fn kill(&mut self) {
        let functions = self.processes();
        self.child.kill().await.expect("the stack is killed");
        let gone = async {
            while functions.keys().any(|function| signals::is_alive(*function)) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(ORPHANS_WITHIN, gone).await.is_ok(), "function processes outlive their stack: {functions:?}");
    }

    /// Starts it again on the same data and ports.
    pub async fn start_again(&mut self) {
        *self = StackProcess::start(self.program.clone(), self.settings.clone()).await;
    }

    /// From now on no file of the stack grows, as if the disk were full; or they do again.
    ///
    /// # Panics
    /// When `prlimit` (Linux) is not there.
    pub fn set_disk(&self, disk: Disk) {
        let limit = match disk {
            Disk::Full => "--fsize=1:",
            Disk::Free => "--fsize=unlimited:",
        };
        let set = Blocking::new("prlimit").args([limit, "--pid", &self.id().to_string()]).status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit {limit}");
    }
}

/// What room the stack's files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// None.
    Full,
    /// As much as there is.
    Free,
}
