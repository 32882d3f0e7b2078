//! Metrics of token verification.

use std::sync::LazyLock;

use miniapp_telemetry::metrics::{self, Counter, Family};
use prometheus_client::encoding::EncodeLabelSet;
use strum::{EnumIter, IntoEnumIterator as _, IntoStaticStr};

use super::VerifyError;
use super::auth_client::{AuthUnreachable, Introspection};

struct TokenMetrics {
    checks: Family<CheckLabels, Counter>,
    introspections: Family<IntrospectionLabels, Counter>,
}

static METRICS: LazyLock<TokenMetrics> = LazyLock::new(|| {
    let help = "Access tokens verified, by source of the principal and outcome";
    let known = Source::iter().map(|source| CheckLabels::new(source, None));
    let checks = metrics::counters("miniapp_token_checks", help, known);
    let help = "Token introspection requests sent to auth, by outcome";
    let known = [VALID, "refused", "unreachable"].map(|outcome| IntrospectionLabels { outcome });
    let introspections = metrics::counters("miniapp_token_introspections", help, known);
    TokenMetrics { checks, introspections }
});

const VALID: &str = "valid";

/// The source of a principal.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Source {
    /// An earlier verification.
    Cache,
    /// The verification of the signature.
    Signature,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    source: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IntrospectionLabels {
    outcome: &'static str,
}

impl CheckLabels {
    fn new(source: Source, error: Option<&VerifyError>) -> Self {
        Self { source: source.into(), outcome: error.map_or(VALID, Into::into) }
    }
}

pub(super) fn record_check(source: Source, error: Option<&VerifyError>) {
    METRICS.checks.get_or_create(&CheckLabels::new(source, error)).inc();
}

pub(super) fn record_introspection(result: Result<Introspection, AuthUnreachable>) {
    let outcome = match result {
        Ok(Introspection::Active) => VALID,
        Ok(Introspection::Rejected(_)) => "refused",
        Err(AuthUnreachable) => "unreachable",
    };
    METRICS.introspections.get_or_create(&IntrospectionLabels { outcome }).inc();
}
