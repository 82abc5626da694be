//! Whether a process that died had read its event.
//!
//! A process can die between the moment it is found idle and the moment its event arrives. The kernel knows: it resets
//! a connection that is closed with unread bytes, and ends one that is closed without. So a reset while an invocation
//! is open means that the event was never read in full, the handler never ran, and another process may have it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How long the connections of a dead process may take to notice.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// What the connections of one process tell.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    reset: Arc<AtomicBool>,
    open: Arc<watch::Sender<usize>>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { reset: Arc::default(), open: Arc::new(watch::Sender::new(0)) }
    }
}

impl Delivery {
    /// Of a dead process: whether it left something unread.
    pub(crate) async fn was_left_unread(&self) -> bool {
        let mut open = self.open.subscribe();
        let closed = tokio::time::timeout(CLOSE_LIMIT, open.wait_for(|open| *open == 0)).await;
        if closed.is_err() {
            tracing::debug!("a connection outlives its process");
        }
        self.reset.load(Ordering::Acquire)
    }
}

/// Accepts the connections of one process.
pub(crate) struct WatchedListener {
    pub(crate) listener: TcpListener,
    pub(crate) delivery: Delivery,
}

impl Listener for WatchedListener {
    type Io = WatchedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // axum's own implementation retries after an error.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        self.delivery.open.send_modify(|open| *open += 1);
        (WatchedStream { stream, delivery: self.delivery.clone() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// One connection of a process.
pub(crate) struct WatchedStream {
    stream: TcpStream,
    delivery: Delivery,
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        self.delivery.open.send_modify(|open| *open = open.saturating_sub(1));
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let reset = match &read {
            Poll::Ready(Ok(())) if room > 0 && buffer.filled().len() == before => {
                // Closed before the event was sent: the end is read first, and the reset is left as the socket's error.
                matches!(self.stream.take_error(), Ok(Some(_)))
            }
            Poll::Ready(Err(error)) => is_reset(error),
            _ => false,
        };
        if reset {
            self.delivery.reset.store(true, Ordering::Release);
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl WatchedStream {
    fn note(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Err(error)) = written
            && is_reset(error)
        {
            self.delivery.reset.store(true, Ordering::Release);
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
