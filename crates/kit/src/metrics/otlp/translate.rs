//! From Prometheus' model to OpenTelemetry's.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, Sum, exemplar, metric, number_data_point,
};
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as prometheus;

/// Since when is counted, and when that was read, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub began: u64,
    pub now: u64,
}

/// What a family of metrics is called there: names don't tell of the kind and the unit, which
/// have places of their own. A collector that speaks Prometheus on its other side puts them
/// back, so that a number has one name whichever way it went.
pub(super) fn metric(family: prometheus::MetricFamily, times: Times) -> Option<Metric> {
    let kind = family.r#type();
    let (name, unit) = name_and_unit(&family.name);
    let points = family.metric.into_iter();
    let data = match kind {
        prometheus::MetricType::Counter => metric::Data::Sum(Sum {
            data_points: points
                .filter_map(|one| Some(number(one.counter?.value, one.label, times)))
                .collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        prometheus::MetricType::Gauge => metric::Data::Gauge(Gauge {
            data_points: points
                .filter_map(|one| Some(number(one.gauge?.value, one.label, times)))
                .collect(),
        }),
        prometheus::MetricType::Histogram => metric::Data::Histogram(Histogram {
            data_points: points
                .filter_map(|one| Some(histogram(one.histogram?, one.label, times)))
                .collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        }),
        // There is none of these.
        prometheus::MetricType::Summary
        | prometheus::MetricType::Untyped
        | prometheus::MetricType::GaugeHistogram => return None,
    };
    let (name, unit, description) = (name.to_owned(), unit.to_owned(), family.help);
    Some(Metric { name, description, unit, metadata: Vec::new(), data: Some(data) })
}

fn name_and_unit(name: &str) -> (&str, &'static str) {
    let name = name.strip_suffix("_total").unwrap_or(name);
    if let Some(name) = name.strip_suffix("_seconds") {
        (name, "s")
    } else if let Some(name) = name.strip_suffix("_bytes") {
        (name, "By")
    } else {
        (name, "")
    }
}

fn number(value: f64, labels: Vec<prometheus::LabelPair>, times: Times) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: times.began,
        time_unix_nano: times.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(
    counted: prometheus::Histogram,
    labels: Vec<prometheus::LabelPair>,
    times: Times,
) -> HistogramDataPoint {
    let mut point = HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: times.began,
        time_unix_nano: times.now,
        count: counted.sample_count,
        sum: Some(counted.sample_sum),
        ..HistogramDataPoint::default()
    };
    let mut below = 0;
    for bucket in counted.bucket {
        point.bucket_counts.push(bucket.cumulative_count - below);
        below = bucket.cumulative_count;
        // The last one has no end, and none is written.
        if bucket.upper_bound.is_finite() {
            point.explicit_bounds.push(bucket.upper_bound);
        }
        point.exemplars.extend(bucket.exemplar.as_ref().and_then(example));
    }
    if point.bucket_counts.len() == point.explicit_bounds.len() {
        point.bucket_counts.push(counted.sample_count - below);
    }
    point
}

fn example(exemplar: &prometheus::Exemplar) -> Option<Exemplar> {
    let label = |name| exemplar.label.iter().find(|label| label.name == name);
    let trace_id = TraceId::from_hex(&label("trace_id")?.value).ok()?;
    let span_id = SpanId::from_hex(&label("span_id")?.value).ok()?;
    let at = exemplar.timestamp.as_ref()?;
    let (seconds, nanoseconds) = (at.seconds.cast_unsigned(), at.nanos.cast_unsigned());
    Some(Exemplar {
        time_unix_nano: seconds * 1_000_000_000 + u64::from(nanoseconds),
        span_id: span_id.to_bytes().to_vec(),
        trace_id: trace_id.to_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        ..Exemplar::default()
    })
}

fn attributes(labels: Vec<prometheus::LabelPair>) -> Vec<KeyValue> {
    let attribute = |label: prometheus::LabelPair| {
        // There an attribute that says nothing isn't said.
        let value = Some(label.value).filter(|value| !value.is_empty())?;
        let value = AnyValue { value: Some(any_value::Value::StringValue(value)) };
        Some(KeyValue { key: label.name, value: Some(value), ..KeyValue::default() })
    };
    labels.into_iter().filter_map(attribute).collect()
}
