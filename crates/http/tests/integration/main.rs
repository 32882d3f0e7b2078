//! Tests of the router and the server over real connections.

mod front;
mod server;
mod support;
