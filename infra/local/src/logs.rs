//! The output of function processes: passed on, and its last lines kept to explain a failure.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    task::JoinHandle,
};

use crate::{function::Surroundings, meter::Counts, metrics::EmbeddedMetrics, spec::Logs};

/// Lines kept per process.
const LAST_LINES_MAX: usize = 20;

/// Bytes kept of one line.
const LINE_BYTES_MAX: usize = 2_000;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How long the last output of a dead process is waited for; a grandchild may hold the pipe open.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// Where the output of one function goes.
#[derive(Debug, Clone)]
pub(crate) enum Sink {
    StandardError { prefix: Arc<str> },
    File(Arc<File>),
    Nothing,
}

impl Sink {
    pub(crate) fn open(logs: &Logs, function: &str) -> io::Result<Self> {
        Ok(match logs {
            Logs::Inherit => Self::StandardError { prefix: format!("[{function}] ").into() },
            Logs::Directory(directory) => Self::File(Arc::new(append(directory, function)?)),
            Logs::Discard => Self::Nothing,
        })
    }

    /// Writes whole lines.
    fn write(&self, lines: &[u8]) {
        let written = match self {
            Self::StandardError { prefix } => {
                let mut out = Vec::with_capacity(lines.len() + prefix.len());
                for line in lines.split_inclusive(|byte| *byte == b'\n') {
                    out.extend_from_slice(prefix.as_bytes());
                    out.extend_from_slice(line);
                }
                io::stderr().write_all(&out)
            }
            Self::File(file) => (&**file).write_all(lines),
            Self::Nothing => Ok(()),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write function output");
        }
    }
}

fn append(directory: &Path, function: &str) -> io::Result<File> {
    std::fs::create_dir_all(directory)?;
    File::options().create(true).append(true).open(directory.join(format!("{function}.log")))
}

/// The last lines of one process.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastLines(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    copy: Option<LastLines>,
}

impl LastLines {
    /// From now on, what is kept here is kept there as well.
    pub(crate) fn copy_to(&self, other: Option<LastLines>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).copy = other;
    }

    pub(crate) fn push(&self, line: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = &kept.copy {
            copy.push(line);
        }
        let lines = &mut kept.lines;
        if lines.len() == LAST_LINES_MAX {
            lines.pop_front();
        }
        let mut end = line.len().min(LINE_BYTES_MAX);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        lines.push_back(line[..end].to_owned());
    }

    pub(crate) fn to_vec(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines.iter().cloned().collect()
    }
}

/// The tasks that read one process's output.
#[derive(Debug)]
pub(crate) struct Readers(Vec<JoinHandle<()>>);

impl Readers {
    /// Metrics are read from standard output only, where the telemetry of functions goes.
    pub(crate) fn start(child: &mut Child, of: &Surroundings, last_lines: &LastLines) -> Self {
        let mut tasks = Vec::new();
        let copied = |metrics| Copied {
            sink: of.sink.clone(),
            last_lines: last_lines.clone(),
            function: of.name.clone(),
            counts: Arc::clone(&of.counts),
            metrics,
        };
        if let Some(output) = child.stdout.take() {
            tasks.push(tokio::spawn(copy(output, copied(Some(of.metrics.clone())))));
        }
        if let Some(output) = child.stderr.take() {
            tasks.push(tokio::spawn(copy(output, copied(None))));
        }
        Self(tasks)
    }

    /// Waits until a dead process's output has been read.
    pub(crate) async fn drain(self) {
        for mut task in self.0 {
            if tokio::time::timeout(DRAIN_LIMIT, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Where one stream of output goes.
struct Copied {
    sink: Sink,
    last_lines: LastLines,
    /// As whose its bytes are counted.
    function: String,
    counts: Arc<Counts>,
    metrics: Option<EmbeddedMetrics>,
}

async fn copy(mut from: impl AsyncRead + Unpin, to: Copied) {
    let mut pending: Vec<u8> = Vec::with_capacity(CHUNK_BYTES);
    loop {
        let read = from.read_buf(&mut pending).await;
        let ended = !matches!(read, Ok(bytes) if bytes > 0);
        if ended && !pending.is_empty() && pending.last() != Some(&b'\n') {
            pending.push(b'\n');
        }
        // A line that is too long to wait for is passed on in parts.
        let whole = match pending.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if pending.len() >= CHUNK_BYTES => pending.len(),
            None => 0,
        };
        if whole > 0 {
            to.sink.write(&pending[..whole]);
            let mut bytes = 0;
            for line in pending[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                bytes += line.len();
                let line = String::from_utf8_lossy(line);
                to.last_lines.push(&line);
                if let Some(metrics) = &to.metrics {
                    metrics.read(&line);
                }
            }
            to.counts.logged(&to.function, u64::try_from(bytes).unwrap_or(u64::MAX));
            pending.drain(..whole);
        }
        if ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept_and_long_ones_are_cut() {
        let lines = LastLines::default();
        for number in 0..50 {
            lines.push(&format!("line {number}"));
        }
        lines.push(&"é".repeat(LINE_BYTES_MAX));
        let kept = lines.to_vec();
        assert_eq!(kept.len(), LAST_LINES_MAX);
        assert_eq!(kept[0], "line 31");
        assert!(kept[LAST_LINES_MAX - 1].len() <= LINE_BYTES_MAX);
    }

    #[tokio::test]
    async fn output_without_a_final_line_break_is_kept() {
        let lines = LastLines::default();
        let counts = Arc::new(Counts::default());
        let (last_lines, function) = (lines.clone(), "step".to_owned());
        let to = Copied { sink: Sink::Nothing, last_lines, function, counts: Arc::clone(&counts), metrics: None };
        copy(&b"first\n\nlast"[..], to).await;
        assert_eq!(lines.to_vec(), ["first", "last"]);
        assert_eq!(counts.snapshot().log_bytes["step"], 9);
    }
}
