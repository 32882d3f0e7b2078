//! A lean HTTP client for load: one connection, one request at a time.

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

/// The server and the headers that all requests of a run share.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: SocketAddr,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// Creates an endpoint whose requests carry `token`, if there is one.
    pub fn new(address: SocketAddr, token: Option<&Secret>) -> anyhow::Result<Self> {
        let authorization = token
            .map(|token| HeaderValue::try_from(format!("Bearer {}", token.expose())))
            .transpose()?;
        Ok(Self { address, host: HeaderValue::try_from(address.to_string())?, authorization })
    }

    pub fn get(&self, path: &str) -> Request<Full<Bytes>> {
        self.request(Method::GET, path, Bytes::new())
    }

    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::POST, path, body.into());
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // Callers pass literal paths; the server rejects an invalid one.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// A keep-alive connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub async fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(endpoint.address)
            .await
            .with_context(|| format!("cannot connect to {}", endpoint.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its error is also returned by the next request.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Sends a request and reads the whole response, whatever its status.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, read_body(response).await?))
    }

    /// Sends a request that must succeed and reads the whole response.
    pub async fn fetch(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        let (status, body) = self.send(request).await?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => bail!("the platform returned {status}: {}", problem.title),
            Err(_) => bail!("the platform returned {status}"),
        }
    }

    /// Opens an event stream, which takes the connection.
    pub async fn stream(mut self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Incoming> {
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = self.sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("the platform returned {} for the event stream", response.status());
        }
        Ok(response.into_body())
    }
}

async fn read_body(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let mut body = response.into_body();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.is_empty() && hyper::body::Body::is_end_stream(&body) {
            return Ok(data);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
