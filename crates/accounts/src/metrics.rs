//! Numbers about accounts and mail.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use miniapp_runtime::clock::Clock;
use miniapp_telemetry::metrics::{
    self, CollectorGuard, Counter, Exemplar, Family, FloatGauge, Gauge, Histogram, SHORT_BUCKETS,
};
use miniapp_types::problem::Code;
use prometheus_client::encoding::EncodeLabelSet;
use strum::{EnumIter, IntoEnumIterator as _, IntoStaticStr};
use tracing::Span;

use crate::error::Error;
use crate::outbox::OutboxKind;
use crate::store::Store;

static SIGN_INS: LazyLock<Family<Ended, Counter>> = LazyLock::new(|| {
    let help = "Sign-ins with a password, by outcome";
    metrics::counters("miniapp_sign_ins", help, known(Code::CredentialsInvalid))
});

static REFRESHES: LazyLock<Family<Ended, Counter>> = LazyLock::new(|| {
    let help = "Token refreshes, by outcome";
    metrics::counters("miniapp_token_refreshes", help, known(Code::TokenInvalid))
});

static MAILS: LazyLock<Family<Ended, Counter>> = LazyLock::new(|| {
    let known = Sending::iter().map(|outcome| Ended { outcome: outcome.into() });
    metrics::counters("miniapp_mails", "Attempts to send a mail, by outcome", known)
});

static MAIL_TIMES: LazyLock<Histogram> = LazyLock::new(|| {
    metrics::histogram(
        "miniapp_mail_duration",
        "Time the mail server took to accept a mail",
        SHORT_BUCKETS,
    )
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

/// How an attempt to send a mail ended.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Sending {
    /// The server took it.
    Sent,
    /// It was refused for good.
    Refused,
    /// It will be tried again.
    Deferred,
    /// It came too late to be of use.
    Expired,
}

/// The usual ways to end.
fn known(refusal: Code) -> [Ended; 3] {
    ["success", "error", refusal.into()].map(|outcome| Ended { outcome })
}

fn outcome<T>(result: &Result<T, Error>) -> Ended {
    let refusal = |error: &Error| error.refusal().map_or("error", Into::into);
    Ended { outcome: result.as_ref().err().map_or("success", refusal) }
}

/// Somebody tried to sign in.
pub(crate) fn signed_in<T>(result: &Result<T, Error>) {
    SIGN_INS.get_or_create(&outcome(result)).inc();
}

/// Somebody asked for new tokens.
pub(crate) fn refreshed<T>(result: &Result<T, Error>) {
    REFRESHES.get_or_create(&outcome(result)).inc();
}

/// An attempt to send a mail ended.
pub(crate) fn mailed(sending: Sending) {
    MAILS.get_or_create(&Ended { outcome: sending.into() }).inc();
}

/// The mail server was busy with a mail for so long.
pub(crate) fn mail_took(took: Duration) {
    MAIL_TIMES.observe(took, Exemplar::from_span(&Span::current()));
}

struct Gauges {
    messages: Family<OfKind, Gauge>,
    ages: Family<OfKind, FloatGauge>,
}

static GAUGES: LazyLock<Gauges> = LazyLock::new(|| Gauges {
    messages: metrics::gauges("miniapp_outbox_messages", "Mails and messages in the outbox"),
    ages: metrics::duration_gauges(
        "miniapp_outbox_oldest_age",
        "Age of the oldest mail or message in the outbox",
    ),
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

/// Tells of all that is owed whenever the metrics are read.
pub(crate) fn watch(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> CollectorGuard {
    for forced in [&SIGN_INS, &REFRESHES, &MAILS] {
        LazyLock::force(forced);
    }
    metrics::register_collector(move || {
        let (store, clock) = (store.clone(), clock.clone());
        async move {
            let Gauges { messages, ages } = &*GAUGES;
            let Ok(owed) = store.outbox_backlog().await else {
                messages.clear();
                return ages.clear();
            };
            let now = clock.now();
            for kind in OutboxKind::iter() {
                let owed = owed.iter().find(|owed| owed.kind == kind);
                let labels = OfKind { kind: kind.name() };
                let count = owed.map_or(0, |owed| owed.count.cast_signed());
                messages.get_or_create(&labels).set(count);
                let age = owed.map_or(0.0, |owed| now.duration_since(owed.since).as_secs_f64());
                ages.get_or_create(&labels).set(age.max(0.0));
            }
        }
    })
}
