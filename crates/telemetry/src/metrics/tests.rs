use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::*;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Color {
    color: &'static str,
}

fn span(flags: TraceFlags) -> SpanContext {
    let (trace, span) = (TraceId::from(0xab_u128), SpanId::from(0xcd_u64));
    SpanContext::new(trace, span, flags, false, TraceState::default())
}

#[tokio::test]
async fn formats_agree_and_open_metrics_has_exemplars() {
    let times = histograms("metrics_test_duration", "How long tests take", &[0.1, 1.0]);
    let red = Color { color: "red" };
    times.observe(
        &red,
        Duration::from_millis(50),
        Exemplar::from_span_context(&span(TraceFlags::SAMPLED)),
    );
    times.observe(
        &red,
        Duration::from_secs(3),
        Exemplar::from_span_context(&span(TraceFlags::default())),
    );
    counters("metrics_test_things", "Things", []).get_or_create(&red).inc_by(3);

    let plain = encode(Format::Prometheus).await.expect("written");
    for line in [
        "# HELP metrics_test_duration_seconds How long tests take.",
        "# TYPE metrics_test_duration_seconds histogram",
        "metrics_test_duration_seconds_bucket{color=\"red\",le=\"0.1\"} 1",
        "metrics_test_duration_seconds_bucket{color=\"red\",le=\"+Inf\"} 2",
        "metrics_test_duration_seconds_sum{color=\"red\"} 3.05",
        "# TYPE metrics_test_things_total counter",
        "metrics_test_things_total{color=\"red\"} 3",
    ] {
        assert!(plain.lines().any(|one| one == line), "{line}: {plain}");
    }
    assert!(!plain.contains("trace_id"), "{plain}");

    let open = encode(Format::OpenMetrics).await.expect("written");
    let with_exemplar = format!(
        "metrics_test_duration_seconds_bucket{{le=\"0.1\",color=\"red\"}} 1 \
         # {{trace_id=\"{:032x}\",span_id=\"{:016x}\"}} 0.05 ",
        0xab, 0xcd
    );
    assert!(open.contains(&with_exemplar), "{open}");
    assert_eq!(open.matches("metrics_test_duration_seconds_bucket").count(), 3);
    let lines = open.lines().filter(|line| line.starts_with("metrics_test_"));
    let exemplars = lines.filter(|line| line.contains("trace_id")).count();
    assert_eq!(exemplars, 1, "only recorded spans are exemplars");
    assert!(open.ends_with("# EOF\n"));
}

#[tokio::test]
async fn process_metrics_are_encoded() {
    let written = encode(Format::Prometheus).await.expect("written");
    for name in [
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_cpu_seconds_total",
        "tokio_workers",
    ] {
        let line = written.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        let value: f64 = line.trim().parse().expect("a number");
        assert!(value >= 0.0, "{name} {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn collectors_run_at_most_every_five_seconds_and_time_out() {
    let runs = counter("metrics_test_runs", "Runs");
    let guard = register_collector({
        let runs = runs.clone();
        move || {
            runs.inc();
            async {}
        }
    });
    let _hanging = register_collector(std::future::pending);
    for (seconds, expected) in [(0, 1), (1, 1), (6, 2)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        encode(Format::Prometheus).await.expect("written");
        assert_eq!(runs.get(), expected);
    }
    drop(guard);
    tokio::time::advance(Duration::from_secs(9)).await;
    encode(Format::Prometheus).await.expect("written");
    assert_eq!(runs.get(), 2, "a dropped collector does not run");
}

#[test]
fn accept_header_selects_the_format() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2,*/*;q=0.1";
    assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
    for other in [None, Some("*/*"), Some("text/plain;version=0.0.4"), Some("text/html, */*")] {
        assert_eq!(Format::accepted(other), Format::Prometheus, "{other:?}");
    }
}
