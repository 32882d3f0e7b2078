//! A lean HTTP client for load: one connection, one request at a time, nothing besides.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use miniapp_types::account::Secret;
use miniapp_types::problem::Problem;
use tokio::net::TcpStream;

/// What the requests of a run have in common.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where they go.
    pub address: SocketAddr,
    /// The `Host` they name.
    host: HeaderValue,
    /// The `Authorization` they carry.
    authorization: Option<HeaderValue>,
}

impl Target {
    /// Requests to `address`, signed with `token` if there is one.
    pub fn new(address: SocketAddr, token: Option<&Secret>) -> anyhow::Result<Self> {
        let authorization = token
            .map(|token| HeaderValue::try_from(format!("Bearer {}", token.expose())))
            .transpose()?;
        Ok(Self { address, host: HeaderValue::try_from(address.to_string())?, authorization })
    }

    /// A request without a body.
    pub fn get(&self, path: &str) -> Request<Full<Bytes>> {
        self.request(Method::GET, path, Bytes::new())
    }

    /// A request with a JSON body.
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::POST, path, body.into());
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // Paths are written in this module's callers; one that is none fails at the server.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// A connection that is kept alive.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects to `target`.
    pub async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address)
            .await
            .with_context(|| format!("can't connect to {}", target.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its failure is the failure of whatever is sent next.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, whole(response).await?))
    }

    /// Sends a request that has to succeed and reads the whole answer.
    pub async fn ask(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        let (status, body) = self.send(request).await?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => bail!("the platform refused: {status} {}", problem.title),
            Err(_) => bail!("the platform refused: {status}"),
        }
    }

    /// Opens a stream of events; the connection is used up by it.
    pub async fn stream(mut self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Incoming> {
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = self.sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("the platform refused the stream: {}", response.status());
        }
        Ok(response.into_body())
    }
}

async fn whole(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let mut body = response.into_body();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.is_empty() && hyper::body::Body::is_end_stream(&body) {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
