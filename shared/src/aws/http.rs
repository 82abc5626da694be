//! How requests travel to AWS: HTTP/1.1, over one pool of connections for all clients.
//!
//! The SDK's own transport speaks HTTP/2 and to proxies as well, and is linked once for plain endpoints and once for those with TLS.
//! No endpoint in use asks for any of it; what it weighs is in `docs/performance.md`.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use aws_smithy_runtime_api::client::{
    connection::{CaptureSmithyConnection, ConnectionMetadata},
    connector_metadata::ConnectorMetadata,
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{CaptureConnection, HttpConnector as Tcp, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Connections, opened when they are first needed. Whom to trust is fixed when it is made.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<Tcp>, SdkBody>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// Connections to servers whose certificates `roots` vouch for, and to `http:` endpoints. A connection is given up when the server
    /// has not taken it within `connect_timeout`; what TLS takes counts to the attempt.
    pub(super) fn new(roots: RootCertStore, connect_timeout: Duration) -> Http {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("`ring` has cipher suites for both versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = Tcp::new();
        // A request is written at once or in two parts: the second one is not to wait for the first one's acknowledgement.
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        // The timer ends connections that nobody has used for hyper's 90 seconds.
        let client =
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector.wrap_connector(tcp));
        Http { client }
    }
}

impl HttpClient for Http {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some(Cow::Borrowed("1.x"))))
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        // The SDK closes the connection of an attempt that it repeats: the server behind it may be the reason.
        let captured = capture_connection(&mut request);
        if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
            capture.set_connection_retriever(move || closable(&captured));
        }
        let answer = self.client.request(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await.map_err(failure)?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// The connection that a request went over, when it has one by now.
fn closable(captured: &CaptureConnection) -> Option<ConnectionMetadata> {
    let proxied = captured.connection_metadata().as_ref()?.is_proxied();
    let captured = captured.clone();
    let close = move || {
        if let Some(connected) = captured.connection_metadata().as_ref() {
            connected.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(proxied).poison_fn(close).build())
}

/// Whether the SDK repeats the request: it does when the connection failed or was closed before there was an answer.
fn failure(error: legacy::Error) -> ConnectorError {
    if error.is_connect() || cause::<std::io::Error>(&error).is_some() {
        return ConnectorError::io(error.into());
    }
    match cause::<hyper::Error>(&error) {
        Some(cause) if cause.is_user() => ConnectorError::user(error.into()),
        Some(cause) if cause.is_timeout() => ConnectorError::timeout(error.into()),
        Some(cause) if cause.is_closed() || cause.is_canceled() => ConnectorError::io(error.into()),
        Some(cause) if cause.is_incomplete_message() => {
            ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
        }
        _ => ConnectorError::other(error.into(), None),
    }
}

/// The first of an error's causes that is an `E`.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpListener},
        thread,
    };

    use super::*;

    async fn ask(server: SocketAddr) -> Result<HttpResponse, ConnectorError> {
        let http = Http::new(RootCertStore::empty(), Duration::from_secs(5));
        http.call(HttpRequest::get(format!("http://{server}/")).expect("a request")).await
    }

    /// A server that answers one request with `bytes` and closes the connection.
    fn server(bytes: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 4096]).expect("a request");
            stream.write_all(bytes).expect("it is taken");
        });
        address
    }

    #[tokio::test]
    async fn an_answer_arrives_whole() {
        let answer =
            ask(server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nwhat")).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 400);
    }

    #[tokio::test]
    async fn what_was_refused_or_cut_off_may_be_tried_again() {
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let refused = ask(nobody).await.expect_err("nobody listens");
        assert!(refused.is_io(), "{refused:?}");
        for cut in [b"".as_slice(), b"HTTP/1.1 200"] {
            let error = ask(server(cut)).await.expect_err("no answer");
            assert!(error.is_io() || error.as_other() == Some(ErrorKind::TransientError), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_http_is_not_tried_again() {
        let error = ask(server(b"220 mail.example ready\r\n\r\n")).await.expect_err("no HTTP");
        assert!(!error.is_io() && !error.is_timeout() && error.as_other().is_none(), "{error:?}");
    }
}
