//! Rate limits by client address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use governor::clock::{Clock as _, QuantaClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use miniapp_runtime::network::client_network;
use miniapp_types::problem::Code;

use crate::client::Client;
use crate::problem::Problem;

/// The number of checks between removals of addresses without recent requests.
const SWEEP_EVERY: u32 = 4096;

/// Limits requests by address, with `axum::middleware::from_fn_with_state`.
#[derive(Clone, Debug)]
pub struct IpRateLimit(Option<Arc<Limiter>>);

#[derive(Debug)]
struct Limiter {
    clock: QuantaClock,
    seen: DefaultKeyedRateLimiter<IpAddr>,
    checks: AtomicU32,
}

impl IpRateLimit {
    /// Allows `per_minute` requests a minute from one address, in a burst or spread. 0 is no
    /// limit.
    pub fn new(per_minute: u32) -> Self {
        Self(NonZeroU32::new(per_minute).map(|limit| {
            Arc::new(Limiter {
                clock: QuantaClock::default(),
                seen: DefaultKeyedRateLimiter::keyed(Quota::per_minute(limit)),
                checks: AtomicU32::new(0),
            })
        }))
    }

    /// Counts a request from `address`. Rejects it if there are too many.
    pub fn check(&self, address: IpAddr) -> Result<(), Problem> {
        let rejected = |wait| Problem::new(Code::TooManyRequests).retry_after(wait);
        self.wait(address).map_err(rejected)
    }

    /// Counts a request from `address`. Returns how long to wait if there are too many.
    pub fn wait(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        if limiter.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            limiter.seen.retain_recent();
        }
        let checked = limiter.seen.check_key(&client_network(address));
        checked.map_err(|rejected| rejected.wait_time_from(limiter.clock.now()))
    }

    pub async fn limit(
        State(limiter): State<Self>,
        client: Client,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        if let Some(address) = client.address {
            limiter.check(address)?;
        }
        Ok(next.run(request).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_limited_separately() {
        let limiter = IpRateLimit::new(3);
        let rejected = (0..4).map(|_| limiter.check(address("192.0.2.1")).is_err());
        assert_eq!(rejected.collect::<Vec<_>>(), [false, false, false, true]);
        assert!(limiter.check(address("192.0.2.2")).is_ok());
        assert!(limiter.check(address("::ffff:192.0.2.1")).is_err());
        let problem = limiter.check(address("192.0.2.1")).expect_err("too many");
        assert_eq!(problem.code(), Code::TooManyRequests);
    }

    #[test]
    fn ipv6_is_limited_by_network() {
        let limiter = IpRateLimit::new(1);
        assert!(limiter.check(address("2001:db8::1")).is_ok());
        assert!(limiter.check(address("2001:db8::2")).is_err());
        assert!(limiter.check(address("2001:db8:0:1::2")).is_ok());
    }

    #[test]
    fn zero_is_no_limit() {
        let limiter = IpRateLimit::new(0);
        assert!((0..1000).all(|_| limiter.check(address("192.0.2.1")).is_ok()));
    }
}
