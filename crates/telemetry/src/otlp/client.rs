//! Speaking with a collector, by gRPC or by HTTP.

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
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::Target;
use crate::config::{OtlpCompression, OtlpProtocol};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("miniapp/", env!("CARGO_PKG_VERSION")));
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// A collector didn't take what it was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    message: String,
    pub why: Why,
}

/// Whether there is a use in sending the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It may be taken later.
    NotNow,
    /// No such signal is taken there.
    NoSuchSignal,
    /// This isn't taken.
    Never,
}

/// A connection to a collector.
pub(crate) enum Client {
    Grpc { grpc: Box<Grpc<Channel>>, method: PathAndQuery, metadata: MetadataMap },
    Http { http: reqwest::Client, url: String, headers: HeaderMap, is_packed: bool },
}

impl Client {
    /// Connects when something is sent. Has to be called within a runtime.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        let is_packed = target.compression == OtlpCompression::Gzip;
        let mut headers = target.headers.clone();
        match target.protocol {
            OtlpProtocol::Grpc => {
                let mut endpoint = Endpoint::from_shared(target.url.clone())?
                    .user_agent(AGENT)?
                    .connect_timeout(CONNECT)
                    .timeout(target.timeout);
                if target.url.starts_with("https") {
                    endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
                }
                let mut grpc = Grpc::new(endpoint.connect_lazy());
                if is_packed {
                    grpc = grpc.send_compressed(CompressionEncoding::Gzip);
                }
                let metadata = MetadataMap::from_headers(headers);
                let method = target.signal.method();
                Ok(Self::Grpc { grpc: Box::new(grpc), method, metadata })
            }
            OtlpProtocol::Http => {
                headers.insert(CONTENT_TYPE, PROTOBUF);
                headers.insert(USER_AGENT, AGENT);
                if is_packed {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                let http = reqwest::Client::builder()
                    .connect_timeout(CONNECT)
                    .timeout(target.timeout)
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .context("can't make a client of the collector")?;
                Ok(Self::Http { http, url: target.url.clone(), headers, is_packed })
            }
        }
    }

    /// Sends a request; answers how many of its parts the collector left out.
    pub async fn send(&mut self, request: Bytes) -> Result<u64, Refused> {
        let answer = match self {
            Self::Grpc { grpc, method, metadata } => {
                send_grpc(grpc, method.clone(), metadata, request).await?
            }
            Self::Http { http, url, headers, is_packed } => {
                let body = if *is_packed { packed(&request) } else { request };
                let asking = http.post(&*url).headers(headers.clone()).body(body);
                let answer = asking.send().await.map_err(unreachable)?;
                let status = answer.status();
                if !status.is_success() {
                    let why = match status.as_u16() {
                        429 | 502 | 503 | 504 => Why::NotNow,
                        404 => Why::NoSuchSignal,
                        _ => Why::Never,
                    };
                    let message = format!("the collector answered {status}");
                    return Err(Refused { message, why });
                }
                answer.bytes().await.map_err(unreachable)?
            }
        };
        // What isn't readable says nothing of what was left out.
        let answer = ExportResponse::decode(answer).unwrap_or_default();
        let left_out = answer.partial_success.map_or(0, |partial| partial.rejected);
        Ok(u64::try_from(left_out).unwrap_or(0))
    }
}

async fn send_grpc(
    grpc: &mut Grpc<Channel>,
    method: PathAndQuery,
    metadata: &MetadataMap,
    request: Bytes,
) -> Result<Bytes, Refused> {
    grpc.ready().await.map_err(|error| {
        let message = format!("the collector can't be reached: {}", root_cause(&error));
        Refused { message, why: Why::NotNow }
    })?;
    let mut request = Request::new(request);
    *request.metadata_mut() = metadata.clone();
    let answer = grpc.unary(request, method, Plain).await;
    answer.map(tonic::Response::into_inner).map_err(|status| {
        // What a collector says may repeat what it was sent: credentials, for one.
        let message = match status.source() {
            Some(cause) => format!("the collector can't be reached: {}", root_cause(cause)),
            None => format!("the collector answered {:?}", status.code()),
        };
        let why = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Why::NotNow,
            Code::Unimplemented => Why::NoSuchSignal,
            _ => Why::Never,
        };
        Refused { message, why }
    })
}

fn unreachable(error: reqwest::Error) -> Refused {
    let error = error.without_url();
    let message = format!("the collector can't be reached: {}", root_cause(&error));
    Refused { message, why: Why::NotNow }
}

/// The last of the causes, which is what went wrong.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn packed(request: &[u8]) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory can't fail.
    let _ = gzip.write_all(request);
    gzip.finish().unwrap_or_default().into()
}

/// What a collector answers.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
}

/// Messages that are bytes already.
struct Plain;

impl Codec for Plain {
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

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
