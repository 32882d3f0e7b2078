//! Metrics of this process from the operating system and the runtime.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;

use miniapp_runtime::clock::{Clock as _, SystemClock};

/// Reads its values each time the metrics are encoded.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds since 1970.
    started_at: f64,
}

impl Default for Process {
    fn default() -> Self {
        Self { started_at: SystemClock.now().as_duration().as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut add = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let mut gauge = |name, help, value: Option<f64>| match value {
            Some(value) => add(name, help, &ConstGauge::new(value)),
            None => Ok(()),
        };
        gauge(
            "process_start_time_seconds",
            "Start time, in seconds since 1970.",
            Some(self.started_at),
        )?;
        gauge("process_resident_memory_bytes", "Resident memory.", resident_memory())?;
        gauge("process_open_fds", "Open file descriptors.", open_descriptors())?;
        gauge("process_max_fds", "Limit of open file descriptors.", max_descriptors())?;
        if let Ok(runtime) = Handle::try_current() {
            let runtime = runtime.metrics();
            let count = |count: usize| Some(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
            gauge("tokio_workers", "Worker threads of the runtime.", count(runtime.num_workers()))?;
            gauge("tokio_tasks", "Tasks alive in the runtime.", count(runtime.num_alive_tasks()))?;
            let waiting = count(runtime.global_queue_depth());
            gauge("tokio_global_queue_tasks", "Tasks in the runtime's global queue.", waiting)?;
        }
        match processor_time() {
            Some(seconds) => {
                let spent = ConstCounter::new(seconds);
                add("process_cpu_seconds", "Processor time used.", &spent)
            }
            None => Ok(()),
        }
    }
}

fn resident_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

fn open_descriptors() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // Reading the folder opens one descriptor.
    Some(f64::from(u32::try_from(count).ok()?.saturating_sub(1)))
}

fn max_descriptors() -> Option<f64> {
    let limit = getrlimit(Resource::Nofile).current?;
    Some(f64::from(u32::try_from(limit).unwrap_or(u32::MAX)))
}

/// Returns the processor time of the process in seconds, in user and kernel mode.
fn processor_time() -> Option<f64> {
    /// The unit of times in `/proc` on Linux, whatever the kernel's tick rate.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name in parentheses, may contain spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}
