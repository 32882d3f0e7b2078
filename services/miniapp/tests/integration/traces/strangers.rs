//! What hosts outside of the platform receive.

use std::sync::{Arc, Mutex};

use miniapp_test_support::collector::Collector;
use miniapp_types::task::Status;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::traces::support::traced;

/// Others receive no trace context, also when a trusted host redirects to them.
#[tokio::test]
async fn http_requests_of_a_task_reveal_its_trace_to_known_hosts_only() {
    let collector = Collector::start().await;
    let program = traced(&collector.url())
        .set("worker.http_allow_private", true)
        .set("worker.http_trace_hosts", "127.0.0.1");
    let platform = program.start().await;
    let user = platform.sign_up("ada").await;
    let stranger = HeadServer::start("200 OK").await;
    let redirect = format!("307 Redirect\r\nlocation: http://localhost:{}/", stranger.port);
    let known = HeadServer::start(&redirect).await;
    for url in [
        format!("http://127.0.0.1:{}/", known.port),
        format!("http://localhost:{}/", stranger.port),
    ] {
        let task = user.submit("http", &json!({ "url": url })).await;
        let task = user.until(task.task_id, Status::Finished).await;
        assert_eq!(task.result.expect("a result")["status"], 200);
    }
    assert_eq!(known.heads().len(), 1);
    assert!(known.heads().iter().all(|head| head.contains("\r\ntraceparent: ")));
    let heads = stranger.heads();
    assert_eq!(heads.len(), 2);
    for name in ["traceparent", "tracestate", "baggage"] {
        assert!(heads.iter().all(|head| !head.contains(name)), "{heads:?}");
    }
}

/// A server that keeps the heads of requests.
struct HeadServer {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    _accepting: JoinSet<()>,
}

impl HeadServer {
    /// Responds with a status line without the version, and headers.
    async fn start(response: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let response =
            format!("HTTP/1.1 {response}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mut accepting = JoinSet::new();
        let received = heads.clone();
        accepting.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
                received.lock().expect("no panic").push(head);
                let _ = stream.write_all(response.as_bytes()).await;
            }
        });
        Self { port, heads, _accepting: accepting }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}
