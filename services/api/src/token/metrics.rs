//! Metrics of token verification.

use std::sync::LazyLock;

use miniapp_telemetry::metrics::{self, Counter, Family};
use miniapp_token::EventError;
use prometheus_client::encoding::EncodeLabelSet;
use strum::{EnumIter, IntoEnumIterator as _, IntoStaticStr};

use super::VerifyError;
use super::auth_client::{AuthUnreachable, Introspection, KeyIntrospection};

struct TokenMetrics {
    checks: Family<CheckLabels, Counter>,
    key_checks: Family<CheckLabels, Counter>,
    introspections: Family<IntrospectionLabels, Counter>,
    events: Family<EventLabels, Counter>,
}

static METRICS: LazyLock<TokenMetrics> = LazyLock::new(|| {
    let help = "Access tokens verified, by source of the principal and outcome";
    let known = Source::iter().map(|source| CheckLabels::new(source, None));
    let checks = metrics::counters("miniapp_token_checks", help, known);
    let help = "API keys verified, by source of the result and outcome";
    let known = KeySource::iter().map(|source| CheckLabels::new(source, None));
    let key_checks = metrics::counters("miniapp_api_key_checks", help, known);
    let help = "Token introspection requests sent to auth, by outcome";
    let known = [VALID, "refused", "unreachable"].map(|outcome| IntrospectionLabels { outcome });
    let introspections = metrics::counters("miniapp_token_introspections", help, known);
    let help = "Events of auth received, by event and outcome";
    let known = ["account_deleted", "session_changed"].into_iter().flat_map(|event| {
        EventOutcome::iter().map(move |outcome| EventLabels::new(event, outcome))
    });
    let events = metrics::counters("miniapp_auth_events", help, known);
    TokenMetrics { checks, key_checks, introspections, events }
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

/// The source of a result about an API key.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum KeySource {
    /// The format or the checksum is wrong.
    Format,
    /// An earlier lookup.
    Cache,
    /// A lookup in auth.
    Auth,
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
    fn new(source: impl Into<&'static str>, error: Option<&VerifyError>) -> Self {
        Self { source: source.into(), outcome: error.map_or(VALID, Into::into) }
    }
}

/// What became of an event of auth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum EventOutcome {
    Verified,
    Unsigned,
    UnknownKey,
    Forged,
    /// It was processed before.
    Replayed,
    /// It could not be verified, and the settings accept it.
    AcceptedUnverified,
}

impl From<EventError> for EventOutcome {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Unsigned => Self::Unsigned,
            EventError::UnknownKey => Self::UnknownKey,
            EventError::Forged => Self::Forged,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
    outcome: &'static str,
}

impl EventLabels {
    fn new(event: &'static str, outcome: EventOutcome) -> Self {
        Self { event, outcome: outcome.into() }
    }
}

pub(crate) fn record_event(event: &'static str, outcome: EventOutcome) {
    METRICS.events.get_or_create(&EventLabels::new(event, outcome)).inc();
}

pub(super) fn record_check(source: Source, error: Option<&VerifyError>) {
    METRICS.checks.get_or_create(&CheckLabels::new(source, error)).inc();
}

pub(super) fn record_key_check(source: KeySource, error: Option<&VerifyError>) {
    METRICS.key_checks.get_or_create(&CheckLabels::new(source, error)).inc();
}

pub(super) fn record_key_introspection(result: &Result<KeyIntrospection, AuthUnreachable>) {
    count_introspection(match result {
        Ok(Ok(_)) => VALID,
        Ok(Err(_)) => "refused",
        Err(AuthUnreachable) => "unreachable",
    });
}

pub(super) fn record_introspection(result: Result<Introspection, AuthUnreachable>) {
    count_introspection(match result {
        Ok(Introspection::Active) => VALID,
        Ok(Introspection::Rejected(_)) => "refused",
        Err(AuthUnreachable) => "unreachable",
    });
}

fn count_introspection(outcome: &'static str) {
    METRICS.introspections.get_or_create(&IntrospectionLabels { outcome }).inc();
}
