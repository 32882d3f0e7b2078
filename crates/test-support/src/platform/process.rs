//! A child process and its output.

use std::io::Read;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::Program;
use crate::http::{self, Answer};
use crate::{TIMEOUT, eventually};

/// A running program. Dropping it kills the process.
pub(super) struct Process {
    name: String,
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Process {
    pub fn start(program: &Program, arguments: &[&str]) -> Self {
        let name = program.binary().file_name().unwrap_or_default();
        let mut child = program.spawn(arguments);
        Self {
            name: name.to_string_lossy().into_owned(),
            stdout: Captured::from(child.stdout.take()),
            stderr: Captured::from(child.stderr.take()),
            child,
        }
    }

    /// Waits until the admin listener at `url` reports that it is ready.
    pub async fn until_ready(&mut self, url: &str) {
        let ready = format!("{url}/readyz");
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.has_ended() {
                panic!("{} ended with {status}: {}", self.name, self.output());
            }
            match Answer::try_to(http::client().get(&ready)).await {
                Ok(answer) if answer.status == 200 => return,
                _ => assert!(Instant::now() < deadline, "not ready: {}", self.output()),
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn output(&self) -> String {
        format!("{}{}", self.stdout.text(), self.stderr.text())
    }

    pub fn shown(&self) -> String {
        self.stdout.text()
    }

    pub fn log(&self) -> String {
        self.stderr.text()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// The exit status, if it has exited.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until it exits.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let ended = async || child.try_wait().expect("a child");
        let status = eventually(&format!("{} has stopped", self.name), ended).await;
        self.stdout.finish();
        self.stderr.finish();
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the output of {} ----\n{}", self.name, self.output());
        }
    }
}

/// The output of a process, read continuously so that its pipe never fills.
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn from(stream: Option<impl Read + Send + 'static>) -> Self {
        let mut stream = stream.expect("a pipe");
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 16 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut piece) {
                into.lock().extend_from_slice(&piece[..read]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock()).into_owned()
    }

    /// Waits for the last byte of a process that has exited.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
    }
}
