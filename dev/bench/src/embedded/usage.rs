//! Memory and processor time of the platform, as its `/metrics` report them.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::getpid;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::load::{Connection, Endpoint};
use crate::processes::cpu_seconds;

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Resource usage of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory.
    pub megabytes: f64,
    cpu_seconds: f64,
}

/// Fetches the usage of the process whose admin listener is at `admin`.
pub async fn fetch(admin: SocketAddr) -> anyhow::Result<Usage> {
    let endpoint = Endpoint::new(admin, None)?;
    fetch_over(&mut Connection::open(&endpoint).await?, &endpoint).await
}

/// Measures the usage of the platform and of this process, the load generator.
pub struct Meter {
    admin: SocketAddr,
    polling: JoinHandle<()>,
    peak_megabytes: watch::Receiver<f64>,
    platform_seconds: f64,
    generator_seconds: f64,
}

/// The usage while a [`Meter`] ran.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub peak_megabytes: f64,
    pub platform_seconds: f64,
    pub generator_seconds: f64,
}

impl Meter {
    pub async fn start(admin: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::new(admin, None)?;
        let mut connection = Connection::open(&endpoint).await?;
        let (peak, peak_megabytes) = watch::channel(0.0_f64);
        let polling = tokio::spawn(async move {
            while let Ok(usage) = fetch_over(&mut connection, &endpoint).await {
                peak.send_modify(|peak| *peak = peak.max(usage.megabytes));
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        let platform_seconds = fetch(admin).await?.cpu_seconds;
        let generator_seconds = cpu_seconds(getpid())?;
        Ok(Self { admin, polling, peak_megabytes, platform_seconds, generator_seconds })
    }

    pub async fn stop(self) -> anyhow::Result<Cost> {
        let platform = fetch(self.admin).await?.cpu_seconds;
        let generator = cpu_seconds(getpid())?;
        self.polling.abort();
        Ok(Cost {
            peak_megabytes: *self.peak_megabytes.borrow(),
            platform_seconds: platform - self.platform_seconds,
            generator_seconds: generator - self.generator_seconds,
        })
    }
}

async fn fetch_over(connection: &mut Connection, endpoint: &Endpoint) -> anyhow::Result<Usage> {
    let text = connection.fetch(endpoint.get("/metrics")).await?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

fn parse(text: &str) -> Usage {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse::<f64>().ok()
    };
    Usage {
        megabytes: value("process_resident_memory_bytes").unwrap_or_default() / 1e6,
        cpu_seconds: value("process_cpu_seconds_total").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_memory_and_cpu_time() {
        let text = "# HELP process_resident_memory_bytes Memory in use.\n\
                    process_resident_memory_bytes 52000000\nprocess_cpu_seconds_total 1.25\n";
        let usage = parse(text);
        assert!((usage.megabytes - 52.0).abs() < 1e-9);
        assert!((usage.cpu_seconds - 1.25).abs() < 1e-9);
    }
}
