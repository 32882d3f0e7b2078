//! Metrics of accounts and mail.

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

static SIGN_INS: LazyLock<Family<OutcomeLabel, Counter>> = LazyLock::new(|| {
    let help = "Sign-ins with a password, by outcome";
    metrics::counters("miniapp_sign_ins", help, known(Code::CredentialsInvalid))
});

static REFRESHES: LazyLock<Family<OutcomeLabel, Counter>> = LazyLock::new(|| {
    let help = "Token refreshes, by outcome";
    let reissued = OutcomeLabel { outcome: RefreshKind::Reissued.into() };
    let known = known(Code::TokenInvalid).into_iter().chain([reissued]);
    metrics::counters("miniapp_token_refreshes", help, known)
});

static MAILS: LazyLock<Family<OutcomeLabel, Counter>> = LazyLock::new(|| {
    let known = MailOutcome::iter().map(|outcome| OutcomeLabel { outcome: outcome.into() });
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
struct OutcomeLabel {
    outcome: &'static str,
}

/// How a refresh succeeded.
#[derive(Clone, Copy, Debug, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum RefreshKind {
    #[strum(serialize = "success")]
    Rotated,
    /// The tokens were issued before, and their answer may have been lost.
    Reissued,
}

/// The outcome of an attempt to send a mail.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum MailOutcome {
    Sent,
    /// The server rejected it permanently.
    Refused,
    /// It will be retried.
    Deferred,
    /// Its content is out of date.
    Expired,
}

/// The labels that are exported from the start.
fn known(rejection: Code) -> [OutcomeLabel; 3] {
    ["success", "error", rejection.into()].map(|outcome| OutcomeLabel { outcome })
}

fn outcome<T>(result: &Result<T, Error>) -> OutcomeLabel {
    let code = |error: &Error| error.code().map_or("error", Into::into);
    OutcomeLabel { outcome: result.as_ref().err().map_or("success", code) }
}

pub(crate) fn record_sign_in<T>(result: &Result<T, Error>) {
    SIGN_INS.get_or_create(&outcome(result)).inc();
}

pub(crate) fn record_refresh<T>(result: &Result<(T, RefreshKind), Error>) {
    let label = match result {
        Ok((_, kind)) => OutcomeLabel { outcome: kind.into() },
        Err(_) => outcome(result),
    };
    REFRESHES.get_or_create(&label).inc();
}

pub(crate) fn record_mail(outcome: MailOutcome) {
    MAILS.get_or_create(&OutcomeLabel { outcome: outcome.into() }).inc();
}

pub(crate) fn record_mail_duration(duration: Duration) {
    MAIL_TIMES.observe(duration, Exemplar::from_span(&Span::current()));
}

struct Gauges {
    messages: Family<KindLabel, Gauge>,
    ages: Family<KindLabel, FloatGauge>,
}

static GAUGES: LazyLock<Gauges> = LazyLock::new(|| Gauges {
    messages: metrics::gauges("miniapp_outbox_messages", "Mails and messages in the outbox"),
    ages: metrics::duration_gauges(
        "miniapp_outbox_oldest_age",
        "Age of the oldest mail or message in the outbox",
    ),
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Registers the gauges of the outbox, which are read from the store at each scrape.
pub(crate) fn register_gauges(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> CollectorGuard {
    for forced in [&SIGN_INS, &REFRESHES, &MAILS] {
        LazyLock::force(forced);
    }
    metrics::register_collector(move || {
        let (store, clock) = (store.clone(), clock.clone());
        async move {
            let Gauges { messages, ages } = &*GAUGES;
            let Ok(backlog) = store.outbox_backlog().await else {
                messages.clear();
                return ages.clear();
            };
            let now = clock.now();
            for kind in OutboxKind::iter() {
                let backlog = backlog.iter().find(|backlog| backlog.kind == kind);
                let labels = KindLabel { kind: kind.name() };
                let count = backlog.map_or(0, |backlog| backlog.count.cast_signed());
                messages.get_or_create(&labels).set(count);
                let age =
                    backlog.map_or(0.0, |backlog| now.duration_since(backlog.since).as_secs_f64());
                ages.get_or_create(&labels).set(age.max(0.0));
            }
        }
    })
}
