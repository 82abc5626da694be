//! Whether a process that died had read its event.
//!
//! A process can die between the moment it is found idle and the moment its event arrives. The kernel knows: it resets
//! a connection that is closed with unread bytes, and ends one that is closed without. So a reset while an invocation
//! is open means that the event was never read in full, the handler never ran, and another process may have it.
//!
//! ```text
//! process dies ── closes ── end ──►│  read: the end
//!              event ◄─────────────┘  (written before the end was read)
//!              └── nobody is there ── reset ──►  a moment later
//! ```

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd as _,
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
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// How long the connections of a dead process may take to notice.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// How long after an end a reset may come that answers what crossed it: both sides are on this machine, so it is as long as the kernel
/// of a busy one takes to work a packet. Shorter than [`CLOSE_LIMIT`].
const CROSSING_LIMIT: Duration = Duration::from_millis(50);

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
        let closed = timeout(CLOSE_LIMIT, open.wait_for(|open| *open == 0)).await;
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
        (WatchedStream { stream, open: Open::new(self.delivery.clone()), written_last: false }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Delivery);

impl Open {
    fn new(delivery: Delivery) -> Self {
        delivery.open.send_modify(|open| *open += 1);
        Self(delivery)
    }

    fn note_reset(&self) {
        self.0.reset.store(true, Ordering::Release);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// One connection of a process.
pub(crate) struct WatchedStream {
    stream: TcpStream,
    open: Open,
    /// Nothing came since the last bytes went out, so they may be what crosses the end.
    written_last: bool,
}

impl WatchedStream {
    /// The process has closed its side. What it had not read resets the connection, now or in a moment.
    fn note_end(&self) {
        // The end is read first, and a reset is left as the socket's error.
        if matches!(self.stream.take_error(), Ok(Some(_))) {
            self.open.note_reset();
        } else if self.written_last
            && let Err(error) = self.wait_for_reset()
        {
            tracing::debug!(%error, "cannot watch a connection that has ended");
        }
    }

    /// Keeps the connection open for as long as a reset may be on its way.
    fn wait_for_reset(&self) -> io::Result<()> {
        let twin = TcpStream::from_std(self.stream.as_fd().try_clone_to_owned()?.into())?;
        let open = Open::new(self.open.0.clone());
        tokio::spawn(async move {
            if let Ok(Ok(_error)) = timeout(CROSSING_LIMIT, twin.ready(Interest::ERROR)).await {
                open.note_reset();
            }
        });
        Ok(())
    }

    fn note_written(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(_)) => self.written_last = true,
            Poll::Ready(Err(error)) if is_reset(error) => self.open.note_reset(),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
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
        match &read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => self.written_last = false,
            Poll::Ready(Ok(())) if room > 0 => self.note_end(),
            Poll::Ready(Err(error)) if is_reset(error) => self.open.note_reset(),
            Poll::Ready(Ok(()) | Err(_)) | Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.note_written(&written);
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

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A process's connection from both ends.
    async fn connection() -> (Delivery, WatchedStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let delivery = Delivery::default();
        let mut listener = WatchedListener { listener, delivery: delivery.clone() };
        let (process, (ours, _)) = tokio::join!(TcpStream::connect(address), Listener::accept(&mut listener));
        (delivery, ours, process.expect("a connection"))
    }

    async fn read_to_end(mut ours: WatchedStream) {
        // A reset ends it too, as an error.
        let _ = ours.read_to_end(&mut Vec::new()).await;
    }

    #[tokio::test]
    async fn an_event_that_was_read_is_not_given_to_another_process() {
        let (delivery, mut ours, mut process) = connection().await;
        ours.write_all(b"event").await.expect("it is written");
        process.read_exact(&mut [0; 5]).await.expect("the event");
        drop(process);
        read_to_end(ours).await;
        assert!(!delivery.was_left_unread().await);
    }

    #[tokio::test]
    async fn an_event_that_lay_there_unread_is() {
        let (delivery, mut ours, process) = connection().await;
        ours.write_all(b"event").await.expect("it is written");
        process.readable().await.expect("the event is there");
        drop(process);
        read_to_end(ours).await;
        assert!(delivery.was_left_unread().await);
    }

    #[tokio::test]
    async fn an_event_that_crossed_the_end_is() {
        let (delivery, mut ours, process) = connection().await;
        drop(process);
        ours.write_all(b"event").await.expect("nobody has noticed yet");
        read_to_end(ours).await;
        assert!(delivery.was_left_unread().await);
    }
}
