//! Tests of the router and the server over real connections.

mod layers;
mod server;
mod support;
