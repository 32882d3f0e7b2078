//! Numbers about the check of tokens.

use std::sync::LazyLock;

use miniapp_telemetry::metrics::{self, Counter, Family};
use prometheus_client::encoding::EncodeLabelSet;
use strum::{EnumIter, IntoEnumIterator as _, IntoStaticStr};

use super::VerifyError;
use super::auth::{Answer, Unreachable};

struct Numbers {
    checks: Family<Checked, Counter>,
    questions: Family<Asked, Counter>,
}

static NUMBERS: LazyLock<Numbers> = LazyLock::new(|| {
    let help = "Access tokens verified, by source of the principal and outcome";
    let known = Source::iter().map(|source| Checked::new(source, None));
    let checks = metrics::counters("miniapp_token_checks", help, known);
    let help = "Token introspection requests sent to auth, by outcome";
    let known = [VALID, "refused", "unreachable"].map(|outcome| Asked { outcome });
    let questions = metrics::counters("miniapp_token_introspections", help, known);
    Numbers { checks, questions }
});

/// The outcome that everybody hopes for.
const VALID: &str = "valid";

/// Where a token's holder was known from.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Source {
    /// The token was seen before.
    Cache,
    /// Its signature was verified.
    Signature,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Checked {
    source: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    outcome: &'static str,
}

impl Checked {
    fn new(source: Source, refusal: Option<&VerifyError>) -> Self {
        Self { source: source.into(), outcome: refusal.map_or(VALID, Into::into) }
    }
}

/// A token was checked.
pub(super) fn checked(source: Source, refusal: Option<&VerifyError>) {
    NUMBERS.checks.get_or_create(&Checked::new(source, refusal)).inc();
}

/// Auth was asked about a token.
pub(super) fn asked(answer: Result<Answer, Unreachable>) {
    let outcome = match answer {
        Ok(Answer::Active) => VALID,
        Ok(Answer::Refused(_)) => "refused",
        Err(Unreachable) => "unreachable",
    };
    NUMBERS.questions.get_or_create(&Asked { outcome }).inc();
}
