//! The collector's configuration.

use crate::programs::optional;

/// With the collector that is inside Jaeger, which has all but its extensions.
#[test]
fn jaeger_as_a_collector_takes_its_pipelines() {
    let Some(jaeger) = optional("MINIAPP_JAEGER", &["jaeger"]) else { return };
    jaeger.accepts(&["validate", "--config", "collector/config.yaml"]);
    let (is_content, said) = jaeger.run(&["validate", "--config", "collector/health.yaml"]);
    assert!(!is_content && said.contains("health_check"), "the tool can say no: {said}");
}

#[test]
fn the_collector_takes_it() {
    let names = ["otelcol-contrib", "otelcol"];
    let Some(collector) = optional("MINIAPP_OTELCOL", &names) else { return };
    let files = ["--config", "collector/config.yaml", "--config", "collector/health.yaml"];
    collector.accepts(&[&["validate"], &files[..]].concat());
}
