//! The sections that this service reads besides those of accounts.

use std::net::SocketAddr;

use miniapp_accounts::{CodeConfig, MailConfig, SignInLimits, TokenConfig};
use miniapp_broker::BrokerConfig;
use miniapp_config::{Database, Section, SectionCheck, check};
use miniapp_http::{BaggageConfig, CorsConfig, LimitConfig};
use serde::Deserialize;

/// All sections of the service.
pub(crate) const SECTIONS: &[SectionCheck] = &[
    check::<Database>,
    check::<BrokerConfig>,
    check::<MailConfig>,
    check::<TokenConfig>,
    check::<CodeConfig>,
    check::<SignInLimits>,
    check::<LimitConfig>,
    check::<CorsConfig>,
    check::<BaggageConfig>,
    check::<AuthConfig>,
    check::<IpLimitConfig>,
];

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct AuthConfig {
    pub listen: SocketAddr,
}

impl Section for AuthConfig {
    const NAME: &'static str = "auth";
}

/// The rate limit of the public routes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct IpLimitConfig {
    pub per_ip: u32,
}

impl Section for IpLimitConfig {
    const NAME: &'static str = "limits";
}
