//! The program with its own settings and files.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;

use miniapp_config::variable_of;
use tempfile::TempDir;

use super::Platform;
#[cfg(target_os = "linux")]
use super::clock_skew;
use crate::ports;

/// Names the trusted certificates on systems without a usual place for them.
const ROOTS: &str = "SSL_CERT_FILE";

/// How to run the program: its binary and settings. Clones share a home directory, which contains
/// the data directory.
#[derive(Clone, Debug)]
pub struct Program {
    binary: PathBuf,
    home: Arc<TempDir>,
    environment: BTreeMap<String, String>,
    ignores_file_limits: bool,
}

/// The outcome of a command of the program.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    /// Runs `binary` in its own home directory, on free ports, without limits per IP address, because
    /// all tests have the same address.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let home = Arc::new(tempfile::tempdir().expect("a directory"));
        let data = home.path().join("data");
        let program = Self {
            binary: binary.into(),
            home,
            environment: BTreeMap::new(),
            ignores_file_limits: false,
        };
        let [auth, api, admin] = [(); 3].map(|()| format!("127.0.0.1:{}", ports::free()));
        program
            .set("auth.url", format_args!("http://{auth}"))
            .set("auth.listen", auth)
            .set("api.listen", api)
            .set("admin.listen", admin)
            .set("data_dir", data.display())
            .set("limits.per_ip", 0)
    }

    #[must_use]
    pub fn set(self, key: &str, value: impl Display) -> Self {
        self.set_variable(&variable_of(key), value)
    }

    /// Sets the secret that processes with the same database share. Those of tests are published.
    #[must_use]
    pub fn set_secret(self, secret: &str) -> Self {
        self.set("auth.secret", secret).set("auth.allow_published_secret", true)
    }

    /// Changes an environment variable.
    #[must_use]
    pub fn set_variable(mut self, name: &str, value: impl Display) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Makes a limit of the file size fail the write instead of killing the program by SIGXFSZ.
    #[must_use]
    pub fn with_file_limits_as_errors(mut self) -> Self {
        self.ignores_file_limits = true;
        self
    }

    /// Moves the system clock of the program ahead by `seconds`.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn ahead_by(self, seconds: i64) -> Self {
        let library = clock_skew::library(self.home());
        self.set_variable("LD_PRELOAD", library.display())
            .set_variable(clock_skew::SECONDS, seconds)
    }

    /// Starts the platform and waits until it is ready.
    pub async fn start(&self) -> Platform {
        self.launch().ready().await
    }

    /// Starts the platform without waiting until it is [ready](Platform::ready).
    pub fn launch(&self) -> Platform {
        self.launch_with(&[])
    }

    /// Like [`launch`](Self::launch), with arguments.
    pub fn launch_with(&self, arguments: &[&str]) -> Platform {
        Platform::launch(self, arguments)
    }

    /// Another program in the same folder, with the same home and settings.
    #[must_use]
    pub(super) fn beside(&self, name: &str) -> Self {
        let binary = self.binary.with_file_name(name);
        assert!(binary.exists(), "{name} isn't built: cargo test --workspace builds it");
        Self { binary, ..self.clone() }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.setting("data_dir").into()
    }

    /// The whole environment of the program.
    pub fn environment(&self) -> impl Iterator<Item = (String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.home().display().to_string();
        let common = [("PATH".to_owned(), path), ("HOME".to_owned(), home)];
        // Needed on systems without a usual place for certificates.
        let roots = std::env::var(ROOTS).ok().map(|file| (ROOTS.to_owned(), file));
        common.into_iter().chain(roots).chain(self.environment.clone())
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs a command of the program until it exits.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        let child = self.spawn(arguments);
        let waited = tokio::task::spawn_blocking(|| child.wait_with_output());
        let Output { status, stdout, stderr } = waited.await.expect("no panic").expect("an end");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Finished { status, stdout: text(stdout), stderr: text(stderr) }
    }

    pub(super) fn url(&self, key: &str) -> String {
        format!("http://{}", self.setting(key))
    }

    pub(super) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = if self.ignores_file_limits {
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(&self.binary);
            shell
        } else {
            Command::new(&self.binary)
        };
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment())
            .current_dir(self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// The value of a changed setting.
    pub fn setting(&self, key: &str) -> &str {
        &self.environment[&variable_of(key)]
    }
}
