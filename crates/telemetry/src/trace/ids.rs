//! Ids of spans.

use opentelemetry::trace::SpanId;
use uuid::Uuid;

/// Returns a random id for a span that is recorded later.
pub fn new_span_id() -> SpanId {
    SpanId::from(rand::random::<u64>().max(1))
}

/// Derives the id of the `number`th span of the entity `id`, so that every process that knows
/// both can refer to the span without storing its id.
pub fn derived_span_id(id: Uuid, number: u64) -> SpanId {
    let (high, low) = id.as_u64_pair();
    SpanId::from(mix(high ^ mix(low ^ mix(number))).max(1))
}

/// `SplitMix64`: a bijection that spreads small differences over all bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn derived_ids_are_distinct_and_stable() {
        let task = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        let other = Uuid::from_u128(task.as_u128() + 1);
        let ids: HashSet<SpanId> = (0..1000)
            .flat_map(|number| [derived_span_id(task, number), derived_span_id(other, number)])
            .collect();
        assert_eq!(ids.len(), 2000);
        assert_eq!(derived_span_id(task, 7), derived_span_id(task, 7));
        assert!(!ids.contains(&SpanId::INVALID));
    }
}
