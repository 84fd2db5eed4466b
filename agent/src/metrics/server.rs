//! The HTTP side: four paths, GET and HEAD, little room and little time for each caller, over TLS and for those who have a password
//! where a web-config file says so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Format, front};
use crate::compile::series::Refusal;
use crate::places::{self, NoPlace, Place, Places};
use crate::web::{Checks, Credentials, Current, Verdict, Web, is_about_the_certificate, is_hello};

/// Connections of one address, and of all.
const CONNECTIONS: places::Limits = places::Limits { each: 16, all: 64 };

/// How long a caller may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// For a request's head to arrive; before that, for TLS to be agreed on.
    head: Duration,
    /// For a whole conversation, its answers taken: scrapers come back with a new one.
    conversation: Duration,
    /// For the answer that is under way when the conversation's time is over.
    last: Duration,
}

const LIMITS: Limits =
    Limits { head: Duration::from_secs(5), conversation: Duration::from_secs(60), last: Duration::from_secs(10) };

/// Bytes of a request's head. hyper takes no less than 8 KiB.
const HEAD_LIMIT: usize = 8 * 1024;

/// Where the page comes from. Called on a thread that may block.
pub trait Source: Send + Sync + 'static {
    /// The text of `/metrics`; an error is for the log and the caller alike.
    fn page(&self, format: Format) -> Result<String, String>;

    /// Whether traffic is steered as the file says; else why not.
    fn ready(&self) -> Result<(), String>;

    /// A caller was turned away. Called often where somebody makes it so.
    fn refused(&self, why: Refusal);
}

/// What all connections share.
struct Listener {
    limits: Limits,
    source: Arc<dyn Source>,
    /// What is asked of callers.
    web: Arc<Current>,
    checks: Checks,
}

/// Binds the address of the file.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, source: Arc<dyn Source>, web: Arc<Current>) {
    serve_within(LIMITS, listener, source, web).await;
}

async fn serve_within(limits: Limits, listener: TcpListener, source: Arc<dyn Source>, web: Arc<Current>) {
    let places = Places::new(CONNECTIONS);
    let shared = Arc::new(Listener { limits, source, web, checks: Checks::default() });
    loop {
        let (stream, caller) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "metrics listener could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = match places.take(caller.ip()) {
            Ok(place) => place,
            Err(full) => {
                tracing::debug!(%caller, "metrics listener is full");
                shared.source.refused(Refusal::Full);
                if !shared.web.speaks_tls() {
                    // Fits into a buffer that is empty yet; whoever is turned away is not waited for.
                    let _ = stream.try_write(turned_away(full, caller.ip()).as_bytes());
                }
                continue;
            }
        };
        tokio::spawn(Arc::clone(&shared).receive(stream, caller, place));
    }
}

fn turned_away(full: NoPlace, caller: IpAddr) -> String {
    let why = match full {
        NoPlace::Each => format!("{caller} has {} connections already\n", CONNECTIONS.each),
        NoPlace::All => format!("{} connections are there already\n", CONNECTIONS.all),
    };
    let head = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-type: text/plain";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{why}", why.len())
}

impl Listener {
    async fn receive(self: Arc<Self>, stream: TcpStream, caller: SocketAddr, _place: Place<IpAddr>) {
        let Some(web) = self.web().await else { return };
        let Some(tls) = web.tls.clone() else {
            return self.converse(stream, caller.ip()).await;
        };
        match tokio::time::timeout(self.limits.head, shake_hands(tls, stream)).await {
            Ok(Ok(stream)) => self.converse(stream, caller.ip()).await,
            Ok(Err(why)) => self.source.refused(why),
            Err(_) => self.source.refused(Refusal::Handshake),
        }
    }

    /// What holds now; where that cannot be told, nobody is answered.
    async fn web(&self) -> Option<Arc<Web>> {
        let current = Arc::clone(&self.web);
        tokio::task::spawn_blocking(move || current.web()).await.ok()
    }

    async fn converse(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin, caller: IpAddr) {
        let limits = self.limits;
        let service = service_fn(move |request| Arc::clone(&self).answer(request, caller));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(HEAD_LIMIT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // All kinds of end are the caller's doing and of no interest to us.
        if tokio::time::timeout(limits.conversation, connection.as_mut()).await.is_err() {
            // What is idle is closed at once; a request that has come in by now gets its answer, which says that it is the last.
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(limits.last, connection).await;
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        caller: IpAddr,
    ) -> hyper::Result<Response<Full<Bytes>>> {
        let failed = || text(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n".into());
        let Some(web) = self.web().await else { return Ok(failed()) };
        let mut response = match self.admit(&web, &request, caller).await {
            Ok(()) => self.say(&request).await.unwrap_or_else(failed),
            Err(refused) => refused,
        };
        for (name, value) in &web.headers {
            response.headers_mut().insert(name, value.clone());
        }
        Ok(response)
    }

    /// The same for each path, so that whoever has no password learns nothing, not even health.
    async fn admit(
        &self,
        web: &Arc<Web>,
        request: &Request<Incoming>,
        from: IpAddr,
    ) -> Result<(), Response<Full<Bytes>>> {
        if web.users.is_empty() {
            return Ok(());
        }
        let verdict = match Credentials::of(request.headers()) {
            Some(who) => self.checks.judge(web, who, from).await,
            None => Verdict::Wrong,
        };
        let (refusal, response) = match verdict {
            Verdict::Right => return Ok(()),
            Verdict::Wrong => {
                let mut response = text(StatusCode::UNAUTHORIZED, "name and password, please\n".into());
                set(&mut response, WWW_AUTHENTICATE, "Basic realm=\"lanekeeper\"");
                (Refusal::Password, response)
            }
            Verdict::Busy => {
                let mut response = text(StatusCode::TOO_MANY_REQUESTS, "others' passwords are being checked\n".into());
                set(&mut response, RETRY_AFTER, "5");
                (Refusal::Full, response)
            }
        };
        self.source.refused(refusal);
        Err(response)
    }

    async fn say(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n".into());
            set(&mut refused, ALLOW, "GET, HEAD");
            return Some(refused);
        }
        let (path, source) = (request.uri().path().to_owned(), Arc::clone(&self.source));
        // Several lines of a header are one (RFC 9110, 5.3).
        let lines = request.headers().get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let format = Format::of(&lines.collect::<Vec<_>>().join(","));
        tokio::task::spawn_blocking(move || respond(&path, format, source.as_ref())).await.ok()
    }
}

/// TLS, or why not.
async fn shake_hands(tls: Arc<rustls::ServerConfig>, stream: TcpStream) -> Result<TlsStream<TcpStream>, Refusal> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if is_hello(first[0]) => {}
        Ok(1) => {
            // Somebody who reads it may have forgotten the s of https. What was sent is taken first: a socket that is closed before
            // that resets, and the answer may be lost.
            let _ = stream.try_read(&mut [0; HEAD_LIMIT]);
            let _ = stream.try_write(NOT_HTTPS.as_bytes());
            return Err(Refusal::Handshake);
        }
        Ok(_) | Err(_) => return Err(Refusal::Handshake),
    }
    TlsAcceptor::from(tls).accept(stream).await.map_err(|error| {
        tracing::debug!(%error, "no TLS");
        if is_about_the_certificate(&error) { Refusal::Certificate } else { Refusal::Handshake }
    })
}

/// In clear, to who spoke in clear where TLS is spoken.
const NOT_HTTPS: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 21\r\n\r\n\
                         https is spoken here\n";

fn respond(path: &str, format: Format, source: &dyn Source) -> Response<Full<Bytes>> {
    match path {
        "/" => {
            let mut response = text(StatusCode::OK, front::PAGE.into());
            set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
            set(&mut response, CONTENT_SECURITY_POLICY, front::POLICY);
            response
        }
        "/metrics" => match source.page(format) {
            Ok(page) => {
                let mut response = text(StatusCode::OK, page.into());
                set(&mut response, CONTENT_TYPE, format.content_type());
                response
            }
            Err(error) => {
                tracing::error!(error, "no metrics page");
                text(StatusCode::INTERNAL_SERVER_ERROR, (error + "\n").into())
            }
        },
        "/healthz" => text(StatusCode::OK, "ok\n".into()),
        "/readyz" => match source.ready() {
            Ok(()) => text(StatusCode::OK, "ready\n".into()),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, (reason + "\n").into()),
        },
        _ => text(StatusCode::NOT_FOUND, "only /, /metrics, /healthz and /readyz\n".into()),
    }
}

/// Whatever the path: kept nowhere, taken for nothing else than it is, and no address given away.
fn text(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    set(&mut response, CACHE_CONTROL, "no-store");
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, REFERRER_POLICY, "no-referrer");
    response
}

fn set(response: &mut Response<Full<Bytes>>, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests;
