//! What the test works with.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::json;
use tempfile::TempDir;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use windlass::{
    aws::{Runs, clients::Clients},
    clock::SystemClock,
    ids::RunId,
};
use windlass_tests::{
    caller::{Caller, http},
    chaos::{clocks::Clocks, proxy::Proxy, sandbox, stack_process::StackProcess, watch::Watch},
    local_kit::binaries,
};

/// Step processes at once: some of them stand still for most of the time.
const STEP_CONCURRENCY: usize = 6;

/// What was done to the processes.
#[derive(Debug, Default)]
pub struct Blown {
    /// Function processes killed, by function.
    pub killed: BTreeMap<String, usize>,
    /// Stacks killed.
    pub stacks: usize,
    /// Step processes that held runs and stood still for longer than a lease.
    pub frozen: usize,
    /// Spans in which no file could grow.
    pub full_disks: usize,
    /// Clocks moved.
    pub jumps: usize,
    /// Sweeps that were asked for, and how many of them failed: their process was killed, or the network was bad.
    pub sweeps: [usize; 2],
}

/// A run that was taken on.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// Its order.
    pub order: String,
    /// Its status in the end, once it is over.
    pub over: Option<String>,
}

/// Everything there is.
pub struct Scene {
    /// The stack's process.
    pub stack: AsyncMutex<StackProcess>,
    /// Somebody who uses it.
    pub caller: Caller,
    /// Heads and journals, read past the proxy.
    pub runs: Runs,
    /// The network of the functions.
    pub proxy: Proxy,
    /// Who holds what.
    pub watch: Arc<Watch>,
    /// Clocks that can be moved, where that is possible.
    pub clocks: Option<Clocks>,
    /// When it began.
    pub began: Instant,
    blown: Mutex<Blown>,
    submitted: Mutex<BTreeMap<RunId, Submitted>>,
    _folder: TempDir,
}

impl Scene {
    pub async fn start() -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).expect("a folder");
            path
        };
        let (api_port, aws_port) = (free_port(), free_port());
        let (watch, http) = (Arc::new(Watch::default()), http());
        let proxy = Proxy::start(format!("http://127.0.0.1:{aws_port}"), http.clone(), Arc::clone(&watch)).await;
        let clocks = Clocks::find(&place("clocks"));
        if clocks.is_none() {
            eprintln!(
                "CLOCKS DO NOT JUMP in this run: `libfaketime` is not installed (Debian: apt-get install libfaketime)"
            );
        }
        let programs = place("programs");
        sandbox::wrap(&binaries().await, &programs, &proxy.url, clocks.as_ref());
        let settings = json!({
            "data": place("data"),
            "binaries": programs,
            "api_port": api_port,
            "aws_port": aws_port,
            "step_concurrency_max": STEP_CONCURRENCY,
            // One actor asks for more than one actor may.
            "env": { "ACTOR_RATE_LIMIT": "off", "TENANT_RATE_LIMIT": "off", "ACTOR_READ_RATE_LIMIT": "off", "TENANT_READ_RATE_LIMIT": "off", "LOG_LEVEL": "error" },
        });
        let stack = StackProcess::start(PathBuf::from(env!("CARGO_BIN_EXE_stack_process")), settings).await;
        let address = stack.address.clone();
        let clients = Clients::at(&address.aws);
        Scene {
            runs: Runs::new(clients.dynamodb(), "windlass-runs", "windlass-idempotency", Arc::new(SystemClock)),
            caller: Caller::new(address, http),
            stack: AsyncMutex::new(stack),
            proxy,
            watch,
            clocks,
            began: Instant::now(),
            blown: Mutex::default(),
            submitted: Mutex::default(),
            _folder: folder,
        }
    }

    /// What was done to the processes so far.
    pub fn blown(&self) -> MutexGuard<'_, Blown> {
        self.blown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runs so far.
    pub fn submitted(&self) -> MutexGuard<'_, BTreeMap<RunId, Submitted>> {
        self.submitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runs that are not over, in words.
    pub fn open_runs(&self) -> String {
        let submitted = self.submitted();
        let open: Vec<String> = submitted
            .iter()
            .filter(|(_, one)| one.over.is_none())
            .map(|(run, one)| format!("{run} {}", one.order))
            .collect();
        format!("{} of {}: {:?}", open.len(), submitted.len(), open.iter().take(5).collect::<Vec<_>>())
    }
}

/// A port that was free a moment ago; the stack has the same one each time.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}
