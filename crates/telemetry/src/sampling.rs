//! Which traces are recorded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, ShouldSample, TracerProviderBuilder,
};
use parking_lot::Mutex;

const DEFAULT_RATE: u32 = 20;

/// Which new traces are recorded, and whether a caller's decision is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    root: Root,
    is_parent_based: bool,
}

/// The sampler of new traces.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Root {
    AlwaysOn,
    AlwaysOff,
    Ratio(f64),
    RateLimited(u32),
}

/// An invalid sampler setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SamplingError {
    #[error(
        "must be always_on, always_off, traceidratio or ratelimited, or one of these after \
         parentbased_"
    )]
    Sampler,
    #[error("must be a number from 0 to 1 for traceidratio")]
    Ratio,
    #[error("must be a whole number of traces per second for ratelimited")]
    Rate,
}

impl SamplingError {
    /// Returns the key of the invalid setting within its section.
    pub fn key(self) -> &'static str {
        match self {
            Self::Sampler => "sampler",
            Self::Ratio | Self::Rate => "sampler_arg",
        }
    }
}

impl Sampling {
    pub const OFF: Self = Self { root: Root::AlwaysOff, is_parent_based: false };

    /// Returns whether nothing is recorded, whatever callers decide.
    pub fn is_off(self) -> bool {
        self.root == Root::AlwaysOff && !self.is_parent_based
    }

    /// Parses OpenTelemetry's names, and `ratelimited`.
    pub fn parse(sampler: &str, argument: &str) -> Result<Self, SamplingError> {
        let (root, is_parent_based) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (root, true),
            None => (sampler, false),
        };
        let argument = argument.trim();
        let root = match root {
            "always_on" => Root::AlwaysOn,
            "always_off" => Root::AlwaysOff,
            "traceidratio" if argument.is_empty() => Root::Ratio(1.0),
            "traceidratio" => {
                let ratio = argument.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                Root::Ratio(ratio.ok_or(SamplingError::Ratio)?)
            }
            "ratelimited" if argument.is_empty() => Root::RateLimited(DEFAULT_RATE),
            "ratelimited" => Root::RateLimited(argument.parse().map_err(|_| SamplingError::Rate)?),
            _ => return Err(SamplingError::Sampler),
        };
        Ok(Self { root, is_parent_based })
    }

    /// Sets the sampler of a provider.
    pub fn configure(self, provider: TracerProviderBuilder) -> TracerProviderBuilder {
        let root = match self.root {
            Root::AlwaysOn => Sampler::AlwaysOn,
            Root::AlwaysOff => Sampler::AlwaysOff,
            Root::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
            Root::RateLimited(limit) if self.is_parent_based => {
                let root = Box::new(RateLimited::new(limit));
                return provider.with_sampler(Sampler::ParentBased(root));
            }
            Root::RateLimited(limit) => return provider.with_sampler(RateLimited::new(limit)),
        };
        provider.with_sampler(if self.is_parent_based {
            Sampler::ParentBased(Box::new(root))
        } else {
            root
        })
    }
}

/// Records a number of new traces per second of each operation, so that frequent requests such as
/// polling do not displace rare ones. Spans follow their parent in this process, so that a trace is
/// recorded as a whole.
#[derive(Clone, Debug)]
struct RateLimited {
    limit: u32,
    /// By operation.
    windows: Arc<Mutex<HashMap<String, Window>>>,
}

/// When the current second began, and how many traces it has had.
#[derive(Debug)]
struct Window {
    start: Instant,
    count: u32,
}

impl RateLimited {
    fn new(limit: u32) -> Self {
        Self { limit, windows: Arc::default() }
    }

    fn allows_one(&self, operation: String) -> bool {
        let now = Instant::now();
        let mut windows = self.windows.lock();
        let window = windows.entry(operation).or_insert(Window { start: now, count: 0 });
        if now.duration_since(window.start) >= Duration::from_secs(1) {
            *window = Window { start: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        window.count <= self.limit
    }
}

/// Returns the name of a span with the method and route of its request. Callers can't make these
/// up, so there are few different ones.
fn operation(name: &str, attributes: &[KeyValue]) -> String {
    let mut operation = name.to_owned();
    for attribute in attributes {
        if matches!(attribute.key.as_str(), "http.request.method" | "http.route") {
            operation.push(' ');
            operation.push_str(&attribute.value.as_str());
        }
    }
    operation
}

impl ShouldSample for RateLimited {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        name: &str,
        _: &SpanKind,
        attributes: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|context| context.span().span_context().clone());
        let parent = parent.filter(opentelemetry::trace::SpanContext::is_valid);
        let is_sampled = match &parent {
            Some(parent) if !parent.is_remote() => parent.is_sampled(),
            _ => self.allows_one(operation(name, attributes)),
        };
        SamplingResult {
            decision: if is_sampled {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: parent.map(|parent| parent.trace_state().clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{
        Span as _, SpanContext, SpanId, TraceFlags, TraceState, Tracer as _, TracerProvider as _,
    };
    use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

    use super::*;

    const ID: TraceId = TraceId::from_bytes([7; 16]);

    fn tracer(name: &str, argument: &str) -> SdkTracer {
        let sampling = Sampling::parse(name, argument).expect("known");
        sampling.configure(SdkTracerProvider::builder()).build().tracer("test")
    }

    /// Whether a span is recorded, below a parent that is remote and sampled or not.
    fn samples(tracer: &SdkTracer, parent: Option<(bool, bool)>, trace_id: TraceId) -> bool {
        let mut context = Context::new();
        if let Some((is_remote, is_sampled)) = parent {
            let flags = TraceFlags::default().with_sampled(is_sampled);
            let state = TraceState::default();
            let parent = SpanContext::new(trace_id, SpanId::from(1), flags, is_remote, state);
            context = context.with_remote_span_context(parent);
        }
        tracer.start_with_context("test", &context).span_context().is_sampled()
    }

    #[test]
    fn standard_samplers_decide_as_named() {
        let remote = |is_sampled| Some((true, is_sampled));
        assert!(samples(&tracer("always_on", ""), remote(false), ID));
        assert!(!samples(&tracer("always_off", ""), remote(true), ID));
        assert!(samples(&tracer("parentbased_always_off", ""), remote(true), ID));
        assert!(!samples(&tracer("parentbased_always_on", ""), remote(false), ID));
        assert!(samples(&tracer("parentbased_always_on", ""), None, ID));
        assert!(samples(&tracer("traceidratio", ""), None, ID));
        assert!(!samples(&tracer("traceidratio", "0"), None, ID));
    }

    #[test]
    fn ratio_takes_its_share_and_the_same_traces_everywhere() {
        let ids = (0..1000_u64).map(|n| {
            let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            TraceId::from(u128::from(spread) | 1 << 100)
        });
        let decide = |tracer: SdkTracer| -> Vec<bool> {
            ids.clone().map(|id| samples(&tracer, Some((true, false)), id)).collect()
        };
        let taken = decide(tracer("traceidratio", "0.5"));
        let count = taken.iter().filter(|taken| **taken).count();
        assert!((400..600).contains(&count), "{count}");
        assert_eq!(decide(tracer("traceidratio", "0.5")), taken);
    }

    #[test]
    fn rate_is_limited_and_traces_are_whole() {
        let none = tracer("ratelimited", "0");
        assert!(!samples(&none, None, ID));
        assert!(samples(&none, Some((false, true)), ID), "a local parent is followed");
        assert!(!samples(&none, Some((true, true)), ID), "a remote parent is not");
        assert!(samples(&tracer("parentbased_ratelimited", "0"), Some((true, true)), ID));
        let many = tracer("parentbased_ratelimited", "4000000000");
        assert!((0..100).all(|_| samples(&many, None, ID)));
        let two = tracer("ratelimited", "2");
        let count = (0..100).filter(|_| samples(&two, None, ID)).count();
        assert!((2..=4).contains(&count), "{count}");
    }

    #[test]
    fn rate_is_limited_for_each_operation() {
        let tracer = tracer("parentbased_ratelimited", "2");
        let is_sampled = |method: &'static str, route: &'static str| {
            let attributes =
                [KeyValue::new("http.request.method", method), KeyValue::new("http.route", route)];
            let span = tracer.span_builder("request").with_attributes(attributes).start(&tracer);
            span.span_context().is_sampled()
        };
        let polls = (0..100).filter(|_| is_sampled("GET", "/tasks")).count();
        assert!((2..=4).contains(&polls), "{polls}");
        assert!(is_sampled("POST", "/tasks"));
        assert!(is_sampled("GET", "/kinds"));
    }

    #[test]
    fn invalid_settings_are_rejected() {
        assert_eq!(Sampling::parse("sometimes", ""), Err(SamplingError::Sampler));
        assert_eq!(Sampling::parse("traceidratio", "2"), Err(SamplingError::Ratio));
        assert_eq!(Sampling::parse("traceidratio", "NaN"), Err(SamplingError::Ratio));
        assert_eq!(Sampling::parse("ratelimited", "-1"), Err(SamplingError::Rate));
    }
}
