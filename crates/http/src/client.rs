//! Who asks.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use http::header::USER_AGENT;
use http::request::Parts;

const LONGEST_USER_AGENT: usize = 256;

/// The other end of the connection, or the one that a proxy there speaks for.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Who asks, as far as the connection and its headers tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address of its [`Peer`]; absent only where no server is between.
    pub address: Option<IpAddr>,
    /// What it calls itself, cut to a bearable length.
    pub user_agent: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<Peer>().map(|Peer(peer)| peer.ip().to_canonical());
        let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let user_agent = user_agent.map(|text| text.chars().take(LONGEST_USER_AGENT).collect());
        Ok(Self { address, user_agent })
    }
}
