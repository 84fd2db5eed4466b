//! The HTTP side: four paths, GET and HEAD, little room and little time for each caller, over TLS and for those who have a password
//! where a web-config file says so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::front;
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
    fn page(&self) -> Result<String, String>;

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
        tokio::task::spawn_blocking(move || respond(&path, source.as_ref())).await.ok()
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

fn respond(path: &str, source: &dyn Source) -> Response<Full<Bytes>> {
    match path {
        "/" => {
            let mut response = text(StatusCode::OK, front::PAGE.into());
            set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
            set(&mut response, CONTENT_SECURITY_POLICY, front::POLICY);
            response
        }
        "/metrics" => match source.page() {
            Ok(page) => {
                let mut response = text(StatusCode::OK, page.into());
                set(&mut response, CONTENT_TYPE, prometheus::TEXT_FORMAT);
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
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Fixed;

    impl Source for Fixed {
        fn page(&self) -> Result<String, String> {
            Ok("x_total 1\n".into())
        }
        fn ready(&self) -> Result<(), String> {
            Err("tunnel branch-7 is not set up yet".into())
        }
        fn refused(&self, _: Refusal) {}
    }

    fn open_to_all() -> Arc<Current> {
        Arc::new(Current::read(None).unwrap())
    }

    async fn ask(request: &str) -> String {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Fixed), open_to_all()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // A reset after an answer is fine: the server need not read what it refuses.
        let _ = stream.read_to_end(&mut all).await;
        server.abort();
        String::from_utf8(all).unwrap()
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    }

    #[tokio::test]
    async fn the_page_is_prometheus_text() {
        let said = ask(&get("/metrics")).await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        assert!(said.contains("content-type: text/plain; version=0.0.4\r\n"), "{said}");
        assert!(said.ends_with("\r\n\r\nx_total 1\n"), "{said}");
    }

    #[tokio::test]
    async fn the_front_page_may_do_nothing_but_ask_here() {
        let said = ask(&get("/")).await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        assert!(said.contains("content-type: text/html; charset=utf-8\r\n"), "{said}");
        assert!(said.contains("content-security-policy: default-src 'none'; "), "{said}");
        assert!(said.ends_with(&format!("\r\n\r\n{}", front::PAGE)), "{said}");
        let head = ask("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(head.contains(&format!("content-length: {}\r\n", front::PAGE.len())), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
    }

    #[tokio::test]
    async fn nothing_is_kept_by_a_cache_or_taken_for_something_else() {
        for path in ["/", "/metrics", "/healthz", "/readyz", "/other"] {
            let said = ask(&get(path)).await;
            for header in ["cache-control: no-store", "x-content-type-options: nosniff", "referrer-policy: no-referrer"]
            {
                assert!(said.contains(&format!("{header}\r\n")), "{path}: {said}");
            }
        }
    }

    #[tokio::test]
    async fn health_is_not_readiness() {
        assert!(ask(&get("/healthz")).await.ends_with("\r\n\r\nok\n"));
        let said = ask(&get("/readyz")).await;
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
        assert!(said.ends_with("tunnel branch-7 is not set up yet\n"), "{said}");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        for path in ["/index.html", "/favicon.ico", "/metrics/", "//"] {
            let said = ask(&get(path)).await;
            assert!(said.starts_with("HTTP/1.1 404 "), "{path}: {said}");
            assert!(said.ends_with("\r\n\r\nonly /, /metrics, /healthz and /readyz\n"), "{path}: {said}");
        }
        for path in ["/", "/metrics"] {
            let said = ask(&format!("DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
            assert!(said.starts_with("HTTP/1.1 405 "), "{path}: {said}");
        }
        let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let said = ask(post).await;
        assert!(said.starts_with("HTTP/1.1 405 ") && said.contains("allow: GET, HEAD\r\n"), "{said}");
    }

    #[tokio::test]
    async fn an_endless_head_is_cut_off() {
        let said = ask(&format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(4 * HEAD_LIMIT))).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    }

    /// As much to say as no buffer of a socket takes.
    struct Long;

    impl Source for Long {
        fn page(&self) -> Result<String, String> {
            Ok("x".repeat(64 << 20))
        }
        fn ready(&self) -> Result<(), String> {
            Ok(())
        }
        fn refused(&self, _: Refusal) {}
    }

    async fn start(limits: Limits, source: impl Source) -> SocketAddr {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_within(limits, listener, Arc::new(source), open_to_all()));
        address
    }

    async fn connect(from: &str, to: SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap()
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
        let _ = read.expect("hung up on");
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn fault_no_method_but_get_and_head_is_taken() {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
            for path in ["/", "/metrics", "/healthz", "/readyz", "/other"] {
                let said = ask(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
                assert!(said.starts_with("HTTP/1.1 405 "), "{method} {path}: {said}");
            }
        }
        let said = ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\n"), "{said}");
    }

    #[tokio::test]
    async fn fault_what_is_no_http_gets_no_page() {
        for nonsense in
            ["\0\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET /metrics HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        {
            let said = ask(nonsense).await;
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{nonsense:?}: {said}");
        }
        let many: String = (0..1000).map(|n| format!("{n}:\r\n")).collect();
        let said = ask(&format!("GET /metrics HTTP/1.1\r\n{many}\r\n")).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    }

    #[tokio::test]
    async fn fault_half_a_head_is_hung_up_on_after_its_time() {
        let address = start(LIMITS, Fixed).await;
        let started = std::time::Instant::now();
        let mut trickles = connect("127.0.0.1", address).await;
        trickles.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        let (mut silent, mut read) = (connect("127.0.0.1", address).await, trickles);
        let (said, nothing) = tokio::join!(rest(&mut read), rest(&mut silent));
        assert!(!said.contains("x_total") && !nothing.contains("x_total"), "{said} {nothing}");
        assert!((LIMITS.head / 2..2 * LIMITS.head).contains(&started.elapsed()), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn fault_an_answer_that_is_not_taken_is_given_up_and_its_place_freed() {
        let limits = Limits { conversation: Duration::from_millis(500), last: Duration::from_millis(500), ..LIMITS };
        let address = start(limits, Long).await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS.each {
            let mut stream = connect("127.0.0.1", address).await;
            stream.write_all(get("/metrics").as_bytes()).await.unwrap();
            idle.push(stream);
        }
        tokio::time::sleep(3 * (limits.conversation + limits.last)).await;
        let mut next = connect("127.0.0.1", address).await;
        next.write_all(get("/readyz").as_bytes()).await.unwrap();
        assert!(rest(&mut next).await.ends_with("\r\n\r\nready\n"));
        for mut stream in idle {
            assert!(rest(&mut stream).await.len() < 64 << 20);
        }
    }

    /// Takes its time.
    struct Slow(Duration);

    impl Source for Slow {
        fn page(&self) -> Result<String, String> {
            std::thread::sleep(self.0);
            Ok("x_total 1\n".into())
        }
        fn ready(&self) -> Result<(), String> {
            Ok(())
        }
        fn refused(&self, _: Refusal) {}
    }

    #[tokio::test]
    async fn fault_a_request_under_way_at_the_end_of_a_conversation_is_answered_and_told_that_it_is_the_last() {
        let limits = Limits { conversation: Duration::from_secs(1), ..LIMITS };
        let address = start(limits, Slow(Duration::from_millis(600))).await;
        let mut stream = connect("127.0.0.1", address).await;
        for last in [false, true] {
            // The second one comes in the time, and its page after it.
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut said = [0; 4096];
            let mut len = 0;
            while !said[..len].ends_with(b"x_total 1\n") {
                let read = stream.read(&mut said[len..]).await.unwrap();
                assert_ne!(read, 0, "{}", String::from_utf8_lossy(&said[..len]));
                len += read;
            }
            let said = String::from_utf8_lossy(&said[..len]);
            assert_eq!(said.contains("connection: close\r\n"), last, "{said}");
        }
        assert_eq!(rest(&mut stream).await, "");
    }

    #[tokio::test]
    async fn fault_a_connection_that_is_kept_and_idle_is_closed_at_the_end_of_its_time() {
        let limits = Limits { conversation: Duration::from_secs(1), ..LIMITS };
        let address = start(limits, Fixed).await;
        let started = std::time::Instant::now();
        let mut stream = connect("127.0.0.1", address).await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.ends_with("x_total 1\n"), "{said}");
        assert!((limits.conversation..2 * limits.conversation).contains(&started.elapsed()), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn fault_an_address_with_all_its_connections_is_told_so_and_others_are_served() {
        let address = start(LIMITS, Fixed).await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS.each {
            idle.push(connect("127.0.0.1", address).await);
        }
        let said = rest(&mut connect("127.0.0.1", address).await).await;
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
        assert!(said.ends_with("\r\n\r\n127.0.0.1 has 16 connections already\n"), "{said}");
        for other in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
            let mut stream = connect(other, address).await;
            stream.write_all(get("/metrics").as_bytes()).await.unwrap();
            assert!(rest(&mut stream).await.ends_with("x_total 1\n"));
            for _ in 0..CONNECTIONS.each {
                idle.push(connect(other, address).await);
            }
        }
        let said = rest(&mut connect("127.0.0.5", address).await).await;
        assert!(said.ends_with("\r\n\r\n64 connections are there already\n"), "{said}");
        drop(idle);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut again = connect("127.0.0.1", address).await;
        again.write_all(get("/metrics").as_bytes()).await.unwrap();
        assert!(rest(&mut again).await.ends_with("x_total 1\n"));
    }
}
