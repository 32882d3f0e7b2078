//! The section `admin`.

use std::net::{Ipv4Addr, SocketAddr};

use miniapp_config::values::optional;
use miniapp_config::{Section, SectionCheck, check};
use miniapp_telemetry::config::{LogConfig, TelemetryConfig};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct AdminConfig {
    #[serde(deserialize_with = "optional")]
    pub listen: Option<SocketAddr>,
}

impl AdminConfig {
    /// Returns the address of the admin listener, by default `port` on the loopback interface.
    pub fn address(self, port: u16) -> SocketAddr {
        self.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into())
    }
}

impl Section for AdminConfig {
    const NAME: &'static str = "admin";
}

/// The sections that every program reads.
pub const SECTIONS: &[SectionCheck] =
    &[check::<AdminConfig>, check::<LogConfig>, check::<TelemetryConfig>];
