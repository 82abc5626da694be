//! Listening on loopback, and stopping.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{
    Router,
    serve::{Listener, ListenerExt as _},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Binds a port on 127.0.0.1; `None` takes any free one.
pub(crate) async fn bind(port: Option<u16>) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until `stop` turns true or its sender is gone. Small answers leave at once (`TCP_NODELAY`).
pub(crate) fn serve(listener: TcpListener, router: Router, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    serve_on(listener, router, stop)
}

/// The same on a listener that prepares its connections itself.
pub(crate) fn serve_on<L>(listener: L, router: Router, mut stop: watch::Receiver<bool>) -> JoinHandle<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    tokio::spawn(async move {
        let stopped = async move {
            // An error means that the sender is gone, which stops the server as well.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
            tracing::warn!(%error, "listener ended");
        }
    })
}
