//! W3C Trace Context and Baggage, in headers and in stored rows. ADR 0013 explains why this does
//! not use the propagators of `opentelemetry_sdk`.

use std::str::FromStr as _;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use miniapp_types::trace::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use percent_encoding::percent_decode_str;

use crate::config::Propagator;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The lengths up to which the standards ask for propagation. Longer values are dropped.
const MAX_TRACESTATE: usize = 512;
const MAX_BAGGAGE: usize = 8192;

/// What is propagated. Everything, until it is set.
static PROPAGATED: OnceLock<Propagated> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Propagated {
    trace_context: bool,
    baggage: bool,
}

/// Sets what requests and messages propagate. Only the first call has an effect.
pub(crate) fn set_propagators(propagators: &[Propagator]) {
    let _ = PROPAGATED.set(Propagated::of(propagators));
}

impl Propagated {
    fn of(propagators: &[Propagator]) -> Self {
        let has = |propagator| {
            propagators.contains(&propagator) && !propagators.contains(&Propagator::None)
        };
        Self { trace_context: has(Propagator::TraceContext), baggage: has(Propagator::Baggage) }
    }

    fn current() -> Self {
        let all = Self { trace_context: true, baggage: true };
        PROPAGATED.get().copied().unwrap_or(all)
    }
}

/// The baggage of a caller, propagated unchanged.
#[derive(Debug)]
struct Baggage(Arc<str>);

/// Reads the trace context of a request.
pub fn extract(headers: &HeaderMap) -> TraceContext {
    extract_from(|name| headers.get(name)?.to_str().ok())
}

/// Reads a trace context from headers of any kind; `field` returns the value of a header. Malformed
/// and oversized values are dropped. Without a valid `traceparent` the context is empty.
pub fn extract_from<'h>(field: impl Fn(&str) -> Option<&'h str>) -> TraceContext {
    extract_propagated(Propagated::current(), field)
}

fn extract_propagated<'h>(
    propagated: Propagated,
    field: impl Fn(&str) -> Option<&'h str>,
) -> TraceContext {
    if !propagated.trace_context {
        return TraceContext::default();
    }
    let field = |name: &HeaderName| field(name.as_str());
    let Some(traceparent) = field(&TRACEPARENT).filter(|text| parse(text).is_some()) else {
        return TraceContext::default();
    };
    TraceContext {
        traceparent: Some(traceparent.into()),
        tracestate: field(&TRACESTATE)
            .filter(|state| state.len() <= MAX_TRACESTATE)
            .map(Into::into),
        baggage: field(&BAGGAGE)
            .filter(|items| propagated.baggage && items.len() <= MAX_BAGGAGE)
            .map(Into::into),
    }
}

/// Adds `context` to the headers of a request.
pub fn inject(context: &TraceContext, headers: &mut HeaderMap) {
    for (name, text) in fields(context) {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
}

/// Returns the headers that propagate `context`.
pub fn fields(context: &TraceContext) -> impl Iterator<Item = (HeaderName, &str)> {
    propagated_fields(Propagated::current(), context)
}

fn propagated_fields(
    propagated: Propagated,
    context: &TraceContext,
) -> impl Iterator<Item = (HeaderName, &str)> {
    let Propagated { trace_context, baggage } = propagated;
    let fields = [
        (TRACEPARENT, &context.traceparent, trace_context),
        (TRACESTATE, &context.tracestate, trace_context),
        (BAGGAGE, &context.baggage, trace_context && baggage),
    ];
    fields
        .into_iter()
        .filter(|(.., is_propagated)| *is_propagated)
        .filter_map(|(name, text, _)| Some((name, text.as_deref()?)))
}

/// Reads the context of a request's caller, if there is a valid one.
pub fn context_from_headers(headers: &HeaderMap) -> Option<Context> {
    headers.contains_key(&TRACEPARENT).then(|| from_headers(&extract(headers))).flatten()
}

pub(super) fn from_headers(headers: &TraceContext) -> Option<Context> {
    let context = Context::new().with_remote_span_context(span_context(headers)?);
    Some(match headers.baggage.as_deref() {
        Some(baggage) => context.with_value(Baggage(baggage.into())),
        None => context,
    })
}

/// Returns the span in `headers` as a remote span.
pub(crate) fn span_context(headers: &TraceContext) -> Option<SpanContext> {
    let (trace_id, span_id, flags) = parse(headers.traceparent.as_deref()?)?;
    let state = headers.tracestate.as_deref().and_then(|state| TraceState::from_str(state).ok());
    Some(SpanContext::new(trace_id, span_id, flags, true, state.unwrap_or_default()))
}

/// Returns the context of the span `id` of the same trace. All else in `headers` is kept.
pub fn child_context(headers: &TraceContext, id: SpanId) -> TraceContext {
    let span = headers.traceparent.as_deref().and_then(parse);
    let traceparent = span.map(|(trace_id, _, flags)| {
        format_traceparent(&SpanContext::new(trace_id, id, flags, false, TraceState::NONE))
    });
    TraceContext { traceparent, ..headers.clone() }
}

/// Returns the percent-decoded value of `key` in `baggage`.
pub fn baggage_item(baggage: &str, key: &str) -> Option<String> {
    let items = baggage.split(',').filter_map(|item| item.split(';').next()?.split_once('='));
    let (_, value) = items.into_iter().find(|(name, _)| name.trim() == key)?;
    Some(percent_decode_str(value.trim()).decode_utf8_lossy().into_owned())
}

pub(super) fn to_headers(context: &Context) -> TraceContext {
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return TraceContext::default();
    }
    let state = span.trace_state().header();
    TraceContext {
        traceparent: Some(format_traceparent(span)),
        tracestate: (!state.is_empty()).then(|| state.into()),
        baggage: context.get::<Baggage>().map(|baggage| (&*baggage.0).into()),
    }
}

pub(super) fn is_sampled(context: &TraceContext) -> bool {
    let flags = context.traceparent.as_deref().and_then(|parent| parent.as_bytes().get(53..55));
    flags.and_then(decode_hex::<1>).is_some_and(|[flags]| flags & 1 == 1)
}

/// Parses `version-traceid-spanid-flags`. Of later versions, only these parts are read.
pub(super) fn parse(traceparent: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let text = traceparent.as_bytes();
    let [version] = decode_hex(text.get(0..2)?)?;
    let has_valid_length = match version {
        0 => text.len() == 55,
        0xff => false,
        _ => text.len() == 55 || text.get(55) == Some(&b'-'),
    };
    if !has_valid_length || [2, 35, 52].iter().any(|dash| text[*dash] != b'-') {
        return None;
    }
    let trace_id = TraceId::from_bytes(decode_hex(&text[3..35])?);
    let span_id = SpanId::from_bytes(decode_hex(&text[36..52])?);
    let [flags] = decode_hex(&text[53..55])?;
    let is_valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
    is_valid.then(|| (trace_id, span_id, TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

fn format_traceparent(span: &SpanContext) -> Box<str> {
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    push_hex(&mut text, &span.trace_id().to_bytes());
    text.push('-');
    push_hex(&mut text, &span.span_id().to_bytes());
    text.push_str(if span.is_sampled() { "-01" } else { "-00" });
    text.into_boxed_str()
}

/// Appends `bytes` in hexadecimal. Every request does this, so it avoids the cost of `write!`.
pub fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
}

/// Decodes lower-case hexadecimal digits. The standard forbids others.
fn decode_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn extract_and_inject_keep_all_headers() {
        let given = headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1,b=2"),
            ("baggage", "user=x%20y;p=1, k=v"),
        ]);
        let context = extract(&given);
        assert!(is_sampled(&context));
        let carried = to_headers(&from_headers(&context).expect("well-formed"));
        assert_eq!(carried, context);
        let mut sent = HeaderMap::new();
        inject(&carried, &mut sent);
        assert_eq!(sent, given);
    }

    #[test]
    fn only_configured_headers_are_propagated() {
        let given =
            headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "user=x")]);
        let context = extract(&given);
        for (propagators, expected) in [
            (&[Propagator::TraceContext, Propagator::Baggage][..], &given),
            (
                &[Propagator::TraceContext],
                &headers(&[("traceparent", PARENT), ("tracestate", "a=1")]),
            ),
            (&[Propagator::Baggage], &HeaderMap::new()),
            (&[Propagator::TraceContext, Propagator::None], &HeaderMap::new()),
            (&[], &HeaderMap::new()),
        ] {
            let propagated = Propagated::of(propagators);
            let sent = propagated_fields(propagated, &context);
            let sent: HeaderMap =
                sent.map(|(name, text)| (name, text.parse().expect("a value"))).collect();
            assert_eq!(&sent, expected, "{propagators:?}");
            let field = |name: &str| given.get(name)?.to_str().ok();
            let mut received = HeaderMap::new();
            inject(&extract_propagated(propagated, field), &mut received);
            assert_eq!(&received, expected, "{propagators:?}");
        }
    }

    #[test]
    fn extract_drops_malformed_traceparents() {
        let zeros = "00000000000000000000000000000000";
        let bad = [
            String::new(),
            "00".to_owned(),
            PARENT.to_uppercase(),
            format!("{PARENT}-x"),
            format!("{PARENT} "),
            PARENT.replace("00-4", "ff-4"),
            PARENT.replace("00-4", "0g-4"),
            PARENT.replace('-', "_"),
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", zeros),
            PARENT.replace("00f067aa0ba902b7", &zeros[..16]),
            PARENT.replace("-01", "-0x"),
            "0".repeat(60_000),
            format!("00-{}-{}-01", "é".repeat(16), "b".repeat(16)),
        ];
        for parent in bad {
            assert_eq!(parse(&parent), None, "{parent}");
            let mut given = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(parent.as_bytes()) {
                given.insert(TRACEPARENT, value);
            }
            assert_eq!(extract(&given), TraceContext::default());
            assert!(context_from_headers(&given).is_none());
        }
    }

    #[test]
    fn parse_accepts_later_versions_and_clears_unknown_flags() {
        let later = PARENT.replace("00-4", "01-4");
        assert!(parse(&later).is_some());
        assert!(parse(&format!("{later}-more")).is_some());
        assert!(parse(&format!("{later}more")).is_none());
        let (_, _, flags) = parse(&PARENT.replace("-01", "-ff")).expect("flags");
        assert_eq!(flags, TraceFlags::SAMPLED);
    }

    #[test]
    fn oversized_and_malformed_values_are_dropped() {
        let long = format!("a={}", "x".repeat(MAX_BAGGAGE));
        let given =
            headers(&[("traceparent", PARENT), ("tracestate", &long[..600]), ("baggage", &long)]);
        let context = extract(&given);
        assert_eq!((context.tracestate, context.baggage), (None, None));
        let malformed = TraceContext {
            traceparent: Some(PARENT.into()),
            tracestate: Some("no state".into()),
            baggage: None,
        };
        let carried = to_headers(&from_headers(&malformed).expect("a valid parent"));
        assert_eq!(carried.tracestate, None);
    }

    #[test]
    fn child_context_replaces_only_the_span_id() {
        let context = TraceContext {
            traceparent: Some(PARENT.into()),
            tracestate: Some("a=1".into()),
            baggage: Some("k=v".into()),
        };
        let child = child_context(&context, SpanId::from(0xab));
        let expected = PARENT.replace("00f067aa0ba902b7", "00000000000000ab");
        assert_eq!(child.traceparent.as_deref(), Some(expected.as_str()));
        assert_eq!((child.tracestate, child.baggage), (context.tracestate, context.baggage));
        assert_eq!(
            child_context(&TraceContext::default(), SpanId::from(1)),
            TraceContext::default()
        );
    }

    #[test]
    fn baggage_item_returns_the_decoded_value_of_a_key() {
        let baggage = "user = x%20y;secret=1, k=v,,=,nothing, user=2";
        assert_eq!(baggage_item(baggage, "user").as_deref(), Some("x y"));
        assert_eq!(baggage_item(baggage, "k").as_deref(), Some("v"));
        assert_eq!(baggage_item(baggage, "secret"), None);
        assert_eq!(baggage_item("", "k"), None);
    }

    #[test]
    fn is_sampled_reads_the_flags() {
        let context = |parent: &str| TraceContext {
            traceparent: Some(parent.into()),
            ..TraceContext::default()
        };
        assert!(is_sampled(&context(PARENT)));
        assert!(!is_sampled(&context(&PARENT.replace("-01", "-00"))));
        assert!(!is_sampled(&context("00")));
        assert!(!is_sampled(&TraceContext::default()));
    }
}
