//! Replaces the address of a trusted proxy by that of its client.

use std::task::{Context, Poll};

use axum::extract::Request;
use tower::{Layer, Service};

use crate::client::Peer;
use crate::trusted_proxies::TrustedProxies;

#[derive(Clone, Debug)]
pub(crate) struct ClientAddressLayer(pub TrustedProxies);

impl<S> Layer<S> for ClientAddressLayer {
    type Service = ClientAddress<S>;

    fn layer(&self, inner: S) -> ClientAddress<S> {
        ClientAddress { proxies: self.0.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ClientAddress<S> {
    proxies: TrustedProxies,
    inner: S,
}

impl<S: Service<Request>> Service<Request> for ClientAddress<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        if let Some(Peer(peer)) = request.extensions().get()
            && let Some(client) = self.proxies.client(peer.ip(), request.headers())
        {
            // The client's port is known to the proxy alone.
            request.extensions_mut().insert(Peer((client, 0).into()));
        }
        self.inner.call(request)
    }
}
