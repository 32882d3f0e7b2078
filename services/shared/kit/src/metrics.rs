//! Numbers about this process, in one registry that everyone adds to.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use http::StatusCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, Gauge, HistogramOpts, HistogramVec, Registry, TextEncoder};

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let registry = Registry::new();
    // Into an empty registry nothing goes twice.
    let _ = registry.register(Box::new(REQUESTS.clone()));
    let _ = Process::new().map(|process| registry.register(Box::new(process)));
    registry
});

/// From a tenth of a millisecond, where embedded engines answer, to ten seconds.
const SECONDS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

static REQUESTS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "http_server_request_duration_seconds",
        "How long requests took to be answered.",
    );
    #[expect(clippy::expect_used, reason = "names and buckets are constants; a test makes it")]
    HistogramVec::new(options.buckets(SECONDS.to_vec()), &["method", "route", "status"])
        .expect("constant options are valid")
});

/// Where the numbers of this process are registered.
pub fn registry() -> &'static Registry {
    &REGISTRY
}

/// All numbers as text, as Prometheus reads them.
pub fn text() -> prometheus::Result<Vec<u8>> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry().gather(), &mut text)?;
    Ok(text)
}

/// Counts an answered request.
pub(crate) fn request(method: &str, route: &str, status: StatusCode, took: Duration) {
    REQUESTS.with_label_values(&[method, route, status.as_str()]).observe(took.as_secs_f64());
}

/// What the system knows about the process, asked whenever somebody looks.
struct Process {
    started: Instant,
    memory: Gauge,
    descriptors: Gauge,
    uptime: Gauge,
    processor: Gauge,
}

impl Process {
    fn new() -> prometheus::Result<Self> {
        Ok(Self {
            started: Instant::now(),
            memory: Gauge::new("process_resident_memory_bytes", "Memory in use.")?,
            descriptors: Gauge::new("process_open_fds", "Open file descriptors.")?,
            uptime: Gauge::new("process_uptime_seconds", "Time since the start.")?,
            processor: Gauge::new("process_cpu_seconds_total", "Processor time taken.")?,
        })
    }

    fn gauges(&self) -> [&Gauge; 4] {
        [&self.memory, &self.descriptors, &self.uptime, &self.processor]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(bytes) = resident_memory() {
            self.memory.set(bytes);
        }
        if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
            // The one that counts them is open too.
            let count = u32::try_from(descriptors.count()).unwrap_or(u32::MAX);
            self.descriptors.set(f64::from(count.saturating_sub(1)));
        }
        if let Some(seconds) = processor_time() {
            self.processor.set(seconds);
        }
        self.uptime.set(self.started.elapsed().as_secs_f64());
        self.gauges().into_iter().flat_map(Collector::collect).collect()
    }
}

fn resident_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

/// Seconds that the process has spent on processors, in its own code and the kernel's.
fn processor_time() -> Option<f64> {
    /// What Linux shows times in, whatever its own clock does.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may hold spaces; it ends with the last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_requests_and_the_process() {
        request("GET", "/metrics-test/{id}", StatusCode::OK, Duration::from_millis(2));
        let text = String::from_utf8(text().expect("encodable")).expect("UTF-8");
        let line = "http_server_request_duration_seconds_count\
                    {method=\"GET\",route=\"/metrics-test/{id}\",status=\"200\"} 1";
        assert!(text.contains(line), "{text}");
        for name in [
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_uptime_",
            "process_cpu_",
        ] {
            assert!(text.contains(&format!("\n{name}")), "{name}: {text}");
        }
    }
}
