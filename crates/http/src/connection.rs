//! One connection: HTTP/1.1, or HTTP/2 where the client begins with it.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::future::Either;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use miniapp_types::problem::Code;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::{Layer as _, Service as _};

use super::front::Front;
use super::linger::Lingering;
use super::places::{Place, Sent};
use super::{Peer, Problem};

/// The largest head of a request; a larger one is answered with 431.
const LARGEST_HEAD: usize = 32 * 1024;
const MOST_HEADERS: usize = 100;
const HTTP2_STREAMS: u32 = 256;
/// An idle HTTP/2 connection is asked this often whether somebody is there.
const HTTP2_PING: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) header: Duration,
    pub(super) write: Duration,
}

pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) timeouts: Timeouts,
    pub(super) peer: SocketAddr,
    pub(super) stop: CancellationToken,
    pub(super) place: Place,
}

impl Connection {
    /// Serves until the client leaves, breaks a rule, or has to leave.
    pub(super) async fn serve(self, stream: TcpStream) {
        tokio::select! {
            () = self.speak(stream) => {}
            () = self.place.given_up() => {
                tracing::debug!(peer = %self.peer, "made room for another connection");
            }
        }
    }

    async fn speak(&self, stream: TcpStream) {
        let Some(is_http2) = self.begins_with_http2(&stream).await else { return };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.timeouts.write));
        let io = TokioIo::new(Box::pin(Lingering::new(stream)));
        let service = service_fn(|request| self.answer(request));
        let served = if is_http2 {
            let mut connection = pin!(http2().serve_connection(io, service));
            tokio::select! {
                served = connection.as_mut() => served,
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        } else {
            let mut connection = pin!(self.http1().serve_connection(io, service));
            tokio::select! {
                served = connection.as_mut() => served,
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        // Clients leave and break off in every way; that is no fault of ours.
        if let Err(error) = served {
            tracing::debug!(peer = %self.peer, error = error.to_string(), "connection ended");
        }
    }

    /// Waits for the first bytes, as long as for a head.
    async fn begins_with_http2(&self, stream: &TcpStream) -> Option<bool> {
        // "PRI * HTTP/2.0": no method of HTTP/1 begins like that.
        const PREFACE: &[u8; 3] = b"PRI";
        let mut first = [0; PREFACE.len()];
        tokio::select! {
            // What has arrived counts, even where this process was late to look.
            biased;
            peeked = stream.peek(&mut first) => match peeked {
                Ok(0) | Err(_) => None,
                Ok(_) => Some(first == *PREFACE),
            },
            () = tokio::time::sleep(self.timeouts.header) => None,
            () = self.stop.cancelled() => None,
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // Also runs while a connection idles between requests.
            .header_read_timeout(self.timeouts.header)
            .max_buf_size(LARGEST_HEAD)
            .max_headers(MOST_HEADERS);
        http1
    }

    fn answer(
        &self,
        request: hyper::Request<Incoming>,
    ) -> impl Future<Output = Result<http::Response<Sent<Body>>, Infallible>> + use<> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(self.peer));
        let begun = self.place.answering();
        let begun = begun.map(|answering| {
            let answer = if names_its_host(&request) {
                Either::Left(self.router.clone().call(request))
            } else {
                Either::Right(hostless().call(request))
            };
            (answer, answering)
        });
        let stop = self.stop.clone();
        async move {
            let Some((answer, answering)) = begun else {
                // The connection ends; it was never begun, so it can be tried again.
                return pending().await;
            };
            let response = ended_by(stop, answer.await?);
            Ok(response.map(|body| Sent::new(body, answering)))
        }
    }
}

/// What HTTP/1.1 asks of every request (RFC 9112, 3.2): exactly one host. Other versions
/// name it elsewhere, or needn't.
fn names_its_host(request: &http::Request<Body>) -> bool {
    if request.version() != Version::HTTP_11 {
        return true;
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    // Empty where what is asked for has no host.
    host.is_empty()
        || host.to_str().is_ok_and(|host| !host.contains('@') && host.parse::<Authority>().is_ok())
}

/// Refuses a request that says not, or not clearly, to whom it goes. It is told about and
/// measured like every other.
fn hostless() -> impl tower::Service<Request, Response = Response, Error = Infallible, Future: Send>
{
    let refused = tower::service_fn(async |_| {
        let problem = Problem::new(Code::MalformedRequest).detail("one Host header is needed");
        // Whoever sent it may mean something else by what follows, too.
        Ok(problem.header(CONNECTION, HeaderValue::from_static("close")).into_response())
    });
    Front::default().layer(refused)
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(LARGEST_HEAD).unwrap_or(u32::MAX));
    http2
}

/// An event stream never ends by itself: it would hold up a shutdown.
fn ended_by(stop: CancellationToken, response: Response) -> Response {
    let is_stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return response;
    }
    response
        .map(|body| Body::from_stream(body.into_data_stream().take_until(stop.cancelled_owned())))
}
