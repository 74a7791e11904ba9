//! The HTTP server: one page, for readers that come once in a while and may be slow, broken or hostile. Each has a connection
//! for one request, a few seconds, and a place among a few.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use super::{Publisher, exposition};
use crate::aggregate::Snapshot;

/// Readers at a time. Others wait in the kernel's queue.
const READERS: usize = 16;
/// How long a reader may take for all of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long for its request.
const HEADERS: Duration = Duration::from_secs(5);
/// How long to wait when the kernel gives no connection: it is short of something.
const RETRY: Duration = Duration::from_millis(100);
/// Bytes of a request.
const REQUEST: usize = 16 << 10;

const TEXT: &str = "text/plain; charset=utf-8";

/// A socket that listens.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// When it is taken, or not this machine's.
    pub fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address that it has; its port is known now if it was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves what is published, for as long as this program runs, on a thread and a runtime of its own: nothing else
    /// ever waits for it.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(self) -> std::io::Result<Publisher> {
        let (publisher, latest) = Publisher::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("metrics".into()).spawn(move || {
            if let Err(error) = runtime.block_on(self.serve(latest)) {
                log::warn!("metrics are not served: {error}");
            }
        })?;
        Ok(publisher)
    }

    async fn serve(self, latest: watch::Receiver<Option<Arc<Snapshot>>>) -> std::io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let readers = Arc::new(Semaphore::new(READERS));
        loop {
            let Ok(place) = Arc::clone(&readers).acquire_owned().await else { return Ok(()) };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let latest = latest.clone();
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(PATIENCE, answer(stream, latest)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    log::debug!("no connection for a reader of metrics: {error}");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

async fn answer(stream: TcpStream, latest: watch::Receiver<Option<Arc<Snapshot>>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &latest);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(REQUEST);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        log::debug!("a reader of metrics: {error}");
    }
}

fn respond(method: &Method, path: &str, latest: &watch::Receiver<Option<Arc<Snapshot>>>) -> Response<Full<Bytes>> {
    if *method != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET"));
        return response;
    }
    match path {
        "/metrics" => {
            let snapshot = latest.borrow().clone();
            match exposition::encode(snapshot) {
                Ok(text) => response(StatusCode::OK, exposition::CONTENT_TYPE, text),
                Err(error) => {
                    log::warn!("metrics: {error}");
                    plain(StatusCode::INTERNAL_SERVER_ERROR, "the numbers could not be written\n")
                }
            }
        }
        "/" => plain(StatusCode::OK, "leaktrace: the metrics are at /metrics\n"),
        _ => plain(StatusCode::NOT_FOUND, "there is nothing here; the metrics are at /metrics\n"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, TEXT, text.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::report::testing;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers in text");
        answer
    }

    #[test]
    fn it_answers_what_is_asked_of_it_and_nothing_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let server = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
            let address = server.address();
            let publisher = server.start().expect("a thread");
            let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");

            let before = ask(address, &get("/metrics")).await;
            assert!(before.starts_with("HTTP/1.1 200") && before.contains("process_cpu_seconds_total"), "{before}");
            assert!(!before.contains("leaktrace_inuse_bytes"), "{before}");
            publisher.publish(testing::normal());
            let after = ask(address, &get("/metrics")).await;
            assert!(after.contains("text/plain; version=0.0.4"), "{after}");
            assert!(after.contains("leaktrace_inuse_bytes{kind=\"heap\"}"), "{after}");

            assert!(ask(address, &get("/")).await.contains("/metrics"));
            assert!(ask(address, &get("/other")).await.starts_with("HTTP/1.1 404"));
            let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
            assert!(ask(address, post).await.starts_with("HTTP/1.1 405"));
            assert!(ask(address, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
            let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(2 * REQUEST));
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            // It may hang up before it has read all of it.
            let _ = stream.write_all(long.as_bytes()).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(!answer.starts_with(b"HTTP/1.1 200"));
            assert!(ask(address, &get("/metrics")).await.starts_with("HTTP/1.1 200"), "it goes on");
        });
    }

    #[test]
    fn readers_who_say_nothing_keep_others_waiting_for_a_few_seconds_at_most() {
        let server = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = server.address();
        let _publisher = server.start().expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut silent = Vec::new();
            for _ in 0..READERS {
                silent.push(TcpStream::connect(address).await.expect("it listens"));
            }
            let asked = ask(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = tokio::time::timeout(2 * HEADERS, asked).await.expect("its turn comes");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        });
    }
}
