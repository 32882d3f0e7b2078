//! Requests to a collector, over gRPC or HTTP.

use std::error::Error as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::Target;
use crate::config::{OtlpCompression, OtlpProtocol};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("miniapp/", env!("CARGO_PKG_VERSION")));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The collector did not accept a request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ExportError {
    message: String,
    pub retry: Retry,
}

impl ExportError {
    pub fn timed_out() -> Self {
        let message = "the collector did not respond in time".to_owned();
        Self { message, retry: Retry::Later }
    }
}

/// Whether the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    Later,
    Never,
}

/// A connection to a collector.
pub(super) enum Client {
    Grpc { grpc: Box<Grpc<Channel>>, method: PathAndQuery, metadata: MetadataMap },
    Http { http: reqwest::Client, url: String, headers: HeaderMap, compresses: bool },
}

impl Client {
    /// Creates a client that connects with the first request. Must be called in a runtime.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        let compresses = target.compression == OtlpCompression::Gzip;
        let mut headers = target.headers.clone();
        match target.protocol {
            OtlpProtocol::Grpc => {
                let mut endpoint = Endpoint::from_shared(target.url.clone())?
                    .user_agent(AGENT)?
                    .connect_timeout(CONNECT_TIMEOUT)
                    .timeout(target.timeout);
                if target.url.starts_with("https") {
                    endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
                }
                let mut grpc = Grpc::new(endpoint.connect_lazy());
                if compresses {
                    grpc = grpc.send_compressed(CompressionEncoding::Gzip);
                }
                let metadata = MetadataMap::from_headers(headers);
                let method = super::target::TRACES_METHOD;
                Ok(Self::Grpc { grpc: Box::new(grpc), method, metadata })
            }
            OtlpProtocol::Http => {
                headers.insert(CONTENT_TYPE, PROTOBUF);
                headers.insert(USER_AGENT, AGENT);
                if compresses {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                let http = reqwest::Client::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .timeout(target.timeout)
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .context("can't create the HTTP client")?;
                Ok(Self::Http { http, url: target.url.clone(), headers, compresses })
            }
        }
    }

    /// Sends an encoded request. Returns how many spans the collector rejected.
    pub async fn send(&mut self, request: Bytes) -> Result<u64, ExportError> {
        let response = match self {
            Self::Grpc { grpc, method, metadata } => {
                send_grpc(grpc, method.clone(), metadata, request).await?
            }
            Self::Http { http, url, headers, compresses } => {
                let body = if *compresses { compress(&request) } else { request };
                let sent = http.post(&*url).headers(headers.clone()).body(body);
                let response = sent.send().await.map_err(unreachable)?;
                let status = response.status();
                if !status.is_success() {
                    let retry = match status.as_u16() {
                        429 | 502 | 503 | 504 => Retry::Later,
                        _ => Retry::Never,
                    };
                    let message = format!("the collector answered {status}");
                    return Err(ExportError { message, retry });
                }
                response.bytes().await.map_err(unreachable)?
            }
        };
        // An unreadable response counts as success.
        let response = ExportTraceServiceResponse::decode(response).unwrap_or_default();
        let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

async fn send_grpc(
    grpc: &mut Grpc<Channel>,
    method: PathAndQuery,
    metadata: &MetadataMap,
    request: Bytes,
) -> Result<Bytes, ExportError> {
    grpc.ready().await.map_err(|error| {
        let message = format!("the collector can't be reached: {}", root_cause(&error));
        ExportError { message, retry: Retry::Later }
    })?;
    let mut request = Request::new(request);
    *request.metadata_mut() = metadata.clone();
    let response = grpc.unary(request, method, Encoded).await;
    response.map(tonic::Response::into_inner).map_err(|status| {
        // The status message may repeat parts of the request, such as credentials.
        let message = match status.source() {
            Some(cause) => format!("the collector can't be reached: {}", root_cause(cause)),
            None => format!("the collector answered {:?}", status.code()),
        };
        let retry = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Retry::Later,
            _ => Retry::Never,
        };
        ExportError { message, retry }
    })
}

fn unreachable(error: reqwest::Error) -> ExportError {
    let error = error.without_url();
    let message = format!("the collector can't be reached: {}", root_cause(&error));
    ExportError { message, retry: Retry::Later }
}

/// Returns the innermost error, which is the informative one.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn compress(request: &[u8]) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = gzip.write_all(request);
    gzip.finish().unwrap_or_default().into()
}

/// Passes messages through that are encoded already: a request is encoded once for all attempts.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
