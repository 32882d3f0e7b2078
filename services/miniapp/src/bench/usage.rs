//! How much memory and processor time the platform takes, by its own word.

use std::net::SocketAddr;
use std::time::Duration;

use miniapp_telemetry::metrics::{self, Format};
use tokio::task::JoinHandle;

use super::http::{Connection, Target};

/// How often it is asked.
const PACE: Duration = Duration::from_millis(200);

/// What `/metrics` says about the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory in megabytes.
    pub megabytes: f64,
    /// Seconds of processor time since its start.
    pub processor: f64,
}

/// Asks the admin listener at `address`.
pub async fn usage(address: SocketAddr) -> anyhow::Result<Usage> {
    let target = Target::new(address, None)?;
    register_collector(&mut Connection::open(&target).await?, &target).await
}

/// Watches for the most memory.
struct Watch(JoinHandle<()>, tokio::sync::watch::Receiver<f64>);

impl Watch {
    /// Begins to watch the process whose admin listener is at `address`.
    pub async fn begin(address: SocketAddr) -> anyhow::Result<Self> {
        let target = Target::new(address, None)?;
        let mut connection = Connection::open(&target).await?;
        let (most, seen) = tokio::sync::watch::channel(0.0);
        let watching = tokio::spawn(async move {
            while let Ok(usage) = register_collector(&mut connection, &target).await {
                most.send_if_modified(|most| {
                    let more = usage.megabytes > *most;
                    *most = most.max(usage.megabytes);
                    more
                });
                tokio::time::sleep(PACE).await;
            }
        });
        Ok(Self(watching, seen))
    }

    /// The most memory seen until now, in megabytes.
    pub fn end(self) -> f64 {
        self.0.abort();
        *self.1.borrow()
    }
}

/// What the platform and the load take while something is measured.
pub struct Meter {
    admin: SocketAddr,
    watch: Watch,
    platform: Usage,
    generator: Usage,
}

/// What they took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The most memory in megabytes.
    pub peak: f64,
    /// Seconds of the platform's processor time.
    pub platform: f64,
    /// Seconds of the load generator's processor time.
    pub generator: f64,
}

impl Meter {
    /// Begins to measure the process whose admin listener is at `admin`, and this one.
    pub async fn begin(admin: SocketAddr) -> anyhow::Result<Self> {
        let watch = Watch::begin(admin).await?;
        Ok(Self { admin, watch, platform: usage(admin).await?, generator: own_usage() })
    }

    /// What was taken since then.
    pub async fn end(self) -> anyhow::Result<Cost> {
        Ok(Cost {
            platform: usage(self.admin).await?.processor - self.platform.processor,
            generator: own_usage().processor - self.generator.processor,
            peak: self.watch.end(),
        })
    }
}

async fn register_collector(connection: &mut Connection, target: &Target) -> anyhow::Result<Usage> {
    let text = connection.ask(target.get("/metrics")).await?;
    Ok(read(&String::from_utf8_lossy(&text)))
}

fn read(text: &str) -> Usage {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse::<f64>().ok()
    };
    Usage {
        megabytes: value("process_resident_memory_bytes").unwrap_or_default() / 1e6,
        processor: value("process_cpu_seconds_total").unwrap_or_default(),
    }
}

/// What this process, the load generator, has taken.
fn own_usage() -> Usage {
    metrics::encode_cached(Format::Prometheus).map(|text| read(&text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let text = "# HELP process_resident_memory_bytes Memory in use.\n\
                    process_resident_memory_bytes 52000000\nprocess_cpu_seconds_total 1.25\n";
        let usage = read(text);
        assert!((usage.megabytes - 52.0).abs() < 1e-9);
        assert!((usage.processor - 1.25).abs() < 1e-9);
    }
}
