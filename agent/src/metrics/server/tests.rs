use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Fixed;

impl Source for Fixed {
    fn page(&self, _: Format) -> Result<String, String> {
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
    ask_of(Fixed, request).await
}

async fn ask_of(source: impl Source, request: &str) -> String {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, Arc::new(source), open_to_all()));
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
    assert!(said.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\nx_total 1\n"), "{said}");
}

#[tokio::test]
async fn openmetrics_is_for_those_who_ask_for_it() {
    struct Told;
    impl Source for Told {
        fn page(&self, format: Format) -> Result<String, String> {
            Ok(format!("{format:?}\n"))
        }
        fn ready(&self) -> Result<(), String> {
            Ok(())
        }
        fn refused(&self, _: Refusal) {}
    }
    let open = "application/openmetrics-text; version=1.0.0";
    for (accept, format, content) in [
        ("", "Prometheus", "text/plain; version=0.0.4"),
        ("Accept: text/plain\r\n", "Prometheus", "text/plain; version=0.0.4"),
        ("Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n", "OpenMetrics", open),
        ("Accept: text/plain;q=0.5\r\nAccept: application/openmetrics-text\r\n", "OpenMetrics", open),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{accept}Connection: close\r\n\r\n");
        let said = ask_of(Told, &request).await;
        assert!(said.contains(&format!("content-type: {content}; charset=utf-8\r\n")), "{accept}: {said}");
        assert!(said.ends_with(&format!("\r\n\r\n{format}\n")), "{accept}: {said}");
    }
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
        for header in ["cache-control: no-store", "x-content-type-options: nosniff", "referrer-policy: no-referrer"] {
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
    fn page(&self, _: Format) -> Result<String, String> {
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
    fn page(&self, _: Format) -> Result<String, String> {
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
