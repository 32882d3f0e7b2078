//! Numbers about the check of tokens.

use std::sync::LazyLock;

use kit::metrics::{self, Counter, Family};
use prometheus_client::encoding::EncodeLabelSet;
use strum::{EnumIter, IntoEnumIterator as _, IntoStaticStr};

use super::Refusal;
use super::auth::{Answer, Unreachable};

static CHECKS: LazyLock<Family<Checked, Counter>> = LazyLock::new(|| {
    let help = "Access tokens that were checked, by where their holder was known from";
    let known = Source::iter().map(|source| Checked::new(source, None));
    metrics::counters("miniapp_token_checks", help, known)
});

static QUESTIONS: LazyLock<Family<Asked, Counter>> = LazyLock::new(|| {
    let help = "Questions to auth about tokens of which the news could not tell";
    metrics::counters("miniapp_token_questions", help, [])
});

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
    fn new(source: Source, refusal: Option<&Refusal>) -> Self {
        Self { source: source.into(), outcome: refusal.map_or("valid", Into::into) }
    }
}

/// A token was checked.
pub(super) fn checked(source: Source, refusal: Option<&Refusal>) {
    CHECKS.get_or_create(&Checked::new(source, refusal)).inc();
}

/// Auth was asked about a token.
pub(super) fn asked(answer: Result<Answer, Unreachable>) {
    let outcome = match answer {
        Ok(Answer::Active) => "valid",
        Ok(Answer::Refused(_)) => "refused",
        Err(Unreachable) => "unreachable",
    };
    QUESTIONS.get_or_create(&Asked { outcome }).inc();
}
