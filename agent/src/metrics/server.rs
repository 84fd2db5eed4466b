//! The HTTP side: four paths, GET and HEAD, little room and little time for each caller.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::front;

/// Callers at a time.
const CONNECTIONS: usize = 32;

/// For a request's head to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// For a whole conversation: scrapers come back with a new one.
const CONVERSATION: Duration = Duration::from_secs(60);

/// Bytes of a request's head. hyper takes no less than 8 KiB.
const HEAD_LIMIT: usize = 8 * 1024;

/// Where the page comes from. Called on a thread that may block.
pub trait Source: Send + Sync + 'static {
    /// The text of `/metrics`; an error is for the log and the caller alike.
    fn page(&self) -> Result<String, String>;

    /// Whether traffic is steered as the file says; else why not.
    fn ready(&self) -> Result<(), String>;
}

/// Binds the address of the file.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, source: Arc<dyn Source>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics listener could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            converse(stream, source).await;
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, source: Arc<dyn Source>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&source)));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    // Both kinds of end are the caller's doing and of no interest to us.
    let _ = tokio::time::timeout(CONVERSATION, connection).await;
}

async fn answer(request: Request<Incoming>, source: Arc<dyn Source>) -> hyper::Result<Response<Full<Bytes>>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n".into());
        set(&mut refused, ALLOW, "GET, HEAD");
        return Ok(refused);
    }
    let path = request.uri().path().to_owned();
    let worked = tokio::task::spawn_blocking(move || respond(&path, source.as_ref())).await;
    Ok(worked.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n".into())))
}

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
    }

    async fn ask(request: &str) -> String {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Fixed)));
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
}
