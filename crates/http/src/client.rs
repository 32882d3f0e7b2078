//! The client of a request.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use http::header::USER_AGENT;
use http::request::Parts;

const MAX_USER_AGENT: usize = 256;

/// The peer of the connection, or the client of a trusted proxy.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Extracts the address and the user agent of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Absent only without a server, in tests.
    pub address: Option<IpAddr>,
    /// Truncated to 256 characters.
    pub user_agent: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<Peer>().map(|Peer(peer)| peer.ip().to_canonical());
        let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let user_agent = user_agent.map(|text| text.chars().take(MAX_USER_AGENT).collect());
        Ok(Self { address, user_agent })
    }
}
