//! The program, with settings and files of its own.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;

use miniapp_config::variable_of;
use tempfile::TempDir;

use super::Platform;
#[cfg(target_os = "linux")]
use super::skew;
use crate::ports;

/// The file with the certificates that programs trust, where the system has no usual one.
const ROOTS: &str = "SSL_CERT_FILE";

/// A way to run the program: which file, and with what settings. Its clones share one
/// home, with the data directory in it.
#[derive(Clone, Debug)]
pub struct Program {
    binary: PathBuf,
    home: Arc<TempDir>,
    environment: BTreeMap<String, String>,
    is_deaf_to_file_limits: bool,
}

/// What a command of the program came to.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its result.
    pub stdout: String,
    /// What it said about it.
    pub stderr: String,
}

impl Program {
    /// Runs `binary` in a home of its own, on free ports, without limits by address: all
    /// tests come from one.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let home = Arc::new(tempfile::tempdir().expect("a directory"));
        let data = home.path().join("data");
        let program = Self {
            binary: binary.into(),
            home,
            environment: BTreeMap::new(),
            is_deaf_to_file_limits: false,
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

    /// Changes a setting.
    #[must_use]
    pub fn set(self, key: &str, value: impl Display) -> Self {
        self.set_variable(&variable_of(key), value)
    }

    /// Changes a variable of the environment.
    #[must_use]
    pub fn set_variable(mut self, name: &str, value: impl Display) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Makes the program see a limit to the size of its files as an error of the write,
    /// not as a signal that ends it.
    #[must_use]
    pub fn deaf_to_file_limits(mut self) -> Self {
        self.is_deaf_to_file_limits = true;
        self
    }

    /// Makes the program's machine see a time of day that is ahead by `seconds`.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn ahead_by(self, seconds: i64) -> Self {
        let library = skew::library(self.home());
        self.set_variable("LD_PRELOAD", library.display()).set_variable(skew::SECONDS, seconds)
    }

    /// Starts the platform and waits until it is ready.
    pub async fn start(&self) -> Platform {
        self.launch().ready().await
    }

    /// Starts the platform, which may not get [ready](Platform::ready) for a while.
    pub fn launch(&self) -> Platform {
        Platform::launch(self)
    }

    /// Another program that lies beside this one, with the same home and settings.
    #[must_use]
    pub(super) fn beside(&self, name: &str) -> Self {
        let binary = self.binary.with_file_name(name);
        assert!(binary.exists(), "{name} isn't built: cargo test --workspace builds it");
        Self { binary, ..self.clone() }
    }

    /// Its home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where the platform keeps its files.
    pub fn data_dir(&self) -> PathBuf {
        self.setting("data_dir").into()
    }

    /// The environment that the program gets, and nothing else of this one's.
    pub fn environment(&self) -> impl Iterator<Item = (String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.home().display().to_string();
        let common = [("PATH".to_owned(), path), ("HOME".to_owned(), home)];
        // Where certificates are, on a machine that has them at no usual place.
        let roots = std::env::var(ROOTS).ok().map(|file| (ROOTS.to_owned(), file));
        common.into_iter().chain(roots).chain(self.environment.clone())
    }

    /// The file.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs a command of the program to its end.
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
        let mut command = if self.is_deaf_to_file_limits {
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

    /// A setting that was changed, as text.
    pub fn setting(&self, key: &str) -> &str {
        &self.environment[&variable_of(key)]
    }
}
