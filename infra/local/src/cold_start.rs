//! How long a function takes from the start of its process to its first poll.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    function::{Function, InvokeError},
    process::INIT_LIMIT,
};

/// What a process asks for when it is ready for work
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-next>).
const FIRST_POLL: &str = "GET /2018-06-01/runtime/invocation/next ";

/// The most bytes of what a process says about its failure.
const SAID_BYTES_MAX: u64 = 16 * 1024;

/// Starts one process of `function` beside those of the stack, waits for its first poll and ends it. Nothing it writes is kept.
pub(crate) async fn measure(function: &Function) -> Result<Duration, InvokeError> {
    let failed = |exit: String, said: String| InvokeError::InitFailed {
        function: function.surroundings.name.clone(),
        exit,
        last_lines: said.lines().map(str::to_owned).collect(),
    };
    let unable = |error: std::io::Error| failed(error.to_string(), String::new());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(unable)?;
    let runtime_api = listener.local_addr().map_err(unable)?.to_string();
    let mut command = Command::new(&function.code.program);
    command.current_dir(function.code.folder());
    command.env_clear().envs(function.environment("cold-start")).env("AWS_LAMBDA_RUNTIME_API", runtime_api);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let started = Instant::now();
    let mut child = command.spawn().map_err(unable)?;
    let polled = tokio::select! {
        polled = timeout(INIT_LIMIT, first_poll(&listener)) => polled.ok(),
        _ = child.wait() => None,
    };
    let took = started.elapsed();
    let exit = match child.try_wait() {
        Ok(Some(status)) => status.to_string(),
        _ => format!("no poll within {INIT_LIMIT:?}"),
    };
    // It may be dead already.
    let _ = child.kill().await;
    match polled {
        Some(()) => Ok(took),
        None => Err(failed(exit, said(&mut child).await)),
    }
}

/// Waits for a first poll; whatever else is asked goes unanswered.
async fn first_poll(listener: &TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let mut line = String::new();
        if BufReader::new(stream).read_line(&mut line).await.is_ok() && line.starts_with(FIRST_POLL) {
            return;
        }
    }
}

async fn said(child: &mut Child) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What was said is only there to explain a failure.
        let _ = stderr.take(SAID_BYTES_MAX).read_to_end(&mut said).await;
    }
    String::from_utf8_lossy(&said).into_owned()
}
