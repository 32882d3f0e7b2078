//! Which traces are recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::{Link, SpanContext, SpanKind, SpanRef, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use parking_lot::Mutex;

use crate::config::TelemetryConfig;

/// Which new traces are recorded, and whether a caller's decision is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    pub(super) root: Root,
    pub(super) follows_parent: bool,
}

/// What decides about a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Root {
    Always,
    Never,
    Ratio(f64),
    PerSecond(u32),
}

/// Why a sampler can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplingError {
    /// The name.
    #[error(
        "must be always_on, always_off, traceidratio or ratelimited, or one of these after \
         parentbased_"
    )]
    Sampler,
    /// The argument, for a ratio.
    #[error("must be a number from 0 to 1 for traceidratio")]
    Ratio,
    /// The argument, for a rate.
    #[error("must be a whole number of traces a second for ratelimited")]
    Rate,
}

impl SamplingError {
    /// The key of the rejected setting within its section.
    pub fn key(self) -> &'static str {
        match self {
            Self::Sampler => "sampler",
            Self::Ratio | Self::Rate => "sampler_arg",
        }
    }
}

const DEFAULT_RATE: u32 = 20;

impl Sampling {
    /// What `settings` ask for. Where spans are sent somewhere, those who look for one
    /// trace shall find it; where they aren't, people look at a few.
    pub fn of(settings: &TelemetryConfig) -> Result<Self, SamplingError> {
        let goes_nowhere =
            settings.otlp_endpoint.is_empty() && settings.otlp_traces_endpoint.is_empty();
        let sampler = match settings.sampler.as_str() {
            "" if goes_nowhere => "parentbased_ratelimited",
            "" => "parentbased_always_on",
            named => named,
        };
        Self::parse(sampler, &settings.sampler_arg)
    }

    /// Whether nothing is recorded, whatever callers say.
    pub(super) fn is_off(self) -> bool {
        self.root == Root::Never && !self.follows_parent
    }

    /// Reads OpenTelemetry's names, and `ratelimited` besides.
    pub fn parse(sampler: &str, argument: &str) -> Result<Self, SamplingError> {
        let (root, follows_parent) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (root, true),
            None => (sampler, false),
        };
        let argument = argument.trim();
        let root = match root {
            "always_on" => Root::Always,
            "always_off" => Root::Never,
            "traceidratio" if argument.is_empty() => Root::Ratio(1.0),
            "traceidratio" => {
                let ratio = argument.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                Root::Ratio(ratio.ok_or(SamplingError::Ratio)?)
            }
            "ratelimited" if argument.is_empty() => Root::PerSecond(DEFAULT_RATE),
            "ratelimited" => Root::PerSecond(argument.parse().map_err(|_| SamplingError::Rate)?),
            _ => return Err(SamplingError::Sampler),
        };
        Ok(Self { root, follows_parent })
    }
}

/// Decides by a [`Sampling`] for each new trace; spans within one follow its first.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    rate: Arc<Rate>,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Self {
        Self { sampling, rate: Arc::default() }
    }

    fn samples(&self, trace_id: TraceId) -> bool {
        match self.sampling.root {
            Root::Always => true,
            Root::Never => false,
            Root::Ratio(ratio) => is_among(trace_id, ratio),
            Root::PerSecond(limit) => self.rate.allows(limit),
        }
    }
}

impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|context| context.span());
        let parent = parent.as_ref().map(SpanRef::span_context).filter(|span| span.is_valid());
        let followed = parent.filter(|span| !span.is_remote() || self.sampling.follows_parent);
        let samples = followed.map_or_else(|| self.samples(trace_id), SpanContext::is_sampled);
        SamplingResult {
            decision: if samples {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: parent.map(|span| span.trace_state().clone()).unwrap_or_default(),
        }
    }
}

/// The same answer for the same trace in every process: by its last 56 random bits.
fn is_among(trace_id: TraceId, ratio: f64) -> bool {
    const RANDOM_BITS: u32 = 56;
    let id = u128::from_be_bytes(trace_id.to_bytes());
    let random = id & ((1 << RANDOM_BITS) - 1);
    #[expect(clippy::cast_precision_loss, reason = "a share of traces needs no last digits")]
    let share = random as f64 / (1_u64 << RANDOM_BITS) as f64;
    share < ratio
}

/// Counts new traces by the second.
#[derive(Debug, Default)]
struct Rate(Mutex<Option<(Instant, u32)>>);

impl Rate {
    fn allows(&self, limit: u32) -> bool {
        let now = Instant::now();
        let mut window = self.0.lock();
        let (began, count) = window.get_or_insert((now, 0));
        if now.duration_since(*began) >= Duration::from_secs(1) {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= limit
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceState};

    use super::*;

    fn sampler(name: &str, argument: &str) -> Sampler {
        Sampler::new(Sampling::parse(name, argument).expect("known"))
    }

    fn decides(sampler: &Sampler, parent: Option<(bool, bool)>, trace_id: TraceId) -> bool {
        let parent = parent.map(|(is_remote, is_sampled)| {
            let flags = TraceFlags::default().with_sampled(is_sampled);
            let state = TraceState::default();
            let span = SpanContext::new(trace_id, SpanId::from(1), flags, is_remote, state);
            Context::new().with_remote_span_context(span)
        });
        let result =
            sampler.should_sample(parent.as_ref(), trace_id, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    const ID: TraceId = TraceId::from_bytes([7; 16]);

    #[test]
    fn the_standard_samplers_decide_as_they_are_named() {
        let remote = |is_sampled| Some((true, is_sampled));
        assert!(decides(&sampler("always_on", ""), remote(false), ID));
        assert!(!decides(&sampler("always_off", ""), remote(true), ID));
        assert!(decides(&sampler("parentbased_always_off", ""), remote(true), ID));
        assert!(!decides(&sampler("parentbased_always_on", ""), remote(false), ID));
        assert!(decides(&sampler("parentbased_always_on", ""), None, ID));
        assert!(decides(&sampler("traceidratio", ""), None, ID));
        assert!(!decides(&sampler("traceidratio", "0"), None, ID));
    }

    #[test]
    fn a_ratio_takes_its_share_and_the_same_traces_everywhere() {
        let half = sampler("traceidratio", "0.5");
        let ids = (0..1000_u64).map(|n| {
            let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            TraceId::from(u128::from(spread) | 1 << 100)
        });
        let taken: Vec<bool> = ids.clone().map(|id| decides(&half, None, id)).collect();
        let count = taken.iter().filter(|taken| **taken).count();
        assert!((400..600).contains(&count), "{count}");
        let again: Vec<bool> = ids.map(|id| decides(&half.clone(), None, id)).collect();
        assert_eq!(again, taken);
    }

    #[test]
    fn a_rate_is_not_exceeded_and_a_trace_is_kept_whole() {
        let none = sampler("ratelimited", "0");
        assert!(!decides(&none, None, ID));
        assert!(decides(&none, Some((false, true)), ID), "a local parent is followed");
        assert!(!decides(&none, Some((true, true)), ID), "a remote one only if told so");
        let many = sampler("parentbased_ratelimited", "4000000000");
        assert!((0..100).all(|_| decides(&many, None, ID)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(Sampling::parse("sometimes", ""), Err(SamplingError::Sampler));
        assert_eq!(Sampling::parse("traceidratio", "2"), Err(SamplingError::Ratio));
        assert_eq!(Sampling::parse("traceidratio", "NaN"), Err(SamplingError::Ratio));
        assert_eq!(Sampling::parse("ratelimited", "-1"), Err(SamplingError::Rate));
    }
}
