//! Workers in several languages.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use miniapp_test_support::platform::Platform;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// The workers of the platform itself.
    Rust,
    Python,
    Node,
}

impl Implementation {
    /// Starts a worker over HTTP. The workers of the platform run already.
    pub fn start(self, platform: &Platform, key: &str, name: &str, grace: &str) -> Option<Worker> {
        let script = |name| directory().join("tests/integration/platform/workers").join(name);
        let mut command = match self {
            Self::Rust => return None,
            Self::Python => {
                let mut command = Command::new("python3");
                command.arg(script("worker.py")).env("PYTHONPATH", sdk("python"));
                command
            }
            Self::Node => {
                let mut command = Command::new("node");
                let module = sdk("typescript/src/index.js");
                command.arg(script("worker.mjs")).env("MINIAPP_SDK", module);
                command
            }
        };
        command
            .args([name, grace])
            .env("MINIAPP_URL", platform.api())
            .env("MINIAPP_API_KEY", key)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Some(Worker(command.spawn().expect("an installed interpreter")))
    }
}

fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sdk(path: &str) -> PathBuf {
    directory().join("../../sdk").join(path)
}

/// A process.
pub struct Worker(Child);

impl Worker {
    pub fn signal(&self, signal: Signal) {
        let id = self.0.id().expect("it runs").cast_signed();
        kill_process(Pid::from_raw(id).expect("an id"), signal).expect("it runs");
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(Duration::from_mins(1), self.0.wait()).await;
        ended.expect("it ends").expect("a status")
    }
}
