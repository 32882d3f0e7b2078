//! A `miniapp` process that is started for the bench and stopped with it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use miniapp_client::account::Register;
use miniapp_client::{Client, Secret};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::sync::mpsc;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The running process. Dropping it kills the process.
pub struct EmbeddedPlatform {
    child: Child,
    output: mpsc::UnboundedReceiver<Output>,
    pub addresses: Addresses,
    /// From exec to listening.
    pub start_up: Duration,
}

/// Where a platform listens.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Addresses {
    pub api: SocketAddr,
    auth: SocketAddr,
    pub admin: SocketAddr,
}

/// A line of `miniapp serve --json`.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
enum Output {
    Listening(Addresses),
    Mail {
        code: Option<String>,
    },
    #[serde(other)]
    Other,
}

impl EmbeddedPlatform {
    /// Starts the `miniapp` next to this program on free ports, with its files in
    /// `directory`.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("miniapp");
        let start = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--json"])
            .env("MINIAPP__DATA_DIR", directory)
            .envs([
                ("MINIAPP__API__LISTEN", "127.0.0.1:0"),
                ("MINIAPP__AUTH__LISTEN", "127.0.0.1:0"),
                ("MINIAPP__ADMIN__LISTEN", "127.0.0.1:0"),
                // One token is used in all phases.
                ("MINIAPP__AUTH__ACCESS_TTL", "12h"),
                // The bench refreshes tokens faster than the rate limit permits.
                ("MINIAPP__LIMITS__PER_IP", "0"),
                ("MINIAPP__LOG__LEVEL", "warn"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `miniapp`; build it with `cargo build --release`")?;
        let stdout = child.stdout.take().context("the platform has no standard output")?;
        let (sender, mut output) = mpsc::unbounded_channel();
        std::thread::spawn(move || read_output(stdout, &sender));
        let first = tokio::time::timeout(TIMEOUT, output.recv()).await;
        let start_up = start.elapsed();
        let Some(Output::Listening(addresses)) = first.ok().flatten() else {
            kill(&mut child);
            bail!("the platform did not start");
        };
        Ok(Self { child, output, addresses, start_up })
    }

    /// Creates an account and signs in.
    pub async fn sign_up(&mut self) -> anyhow::Result<Client> {
        let Addresses { api, auth, .. } = self.addresses;
        let client =
            Client::builder(format!("http://{api}")).auth_url(format!("http://{auth}")).build()?;
        let (email, password) =
            ("bench@example.com".to_owned(), Secret::new("seven quiet lanterns"));
        client.send_code(&email).await?;
        let code = tokio::time::timeout(TIMEOUT, self.next_code()).await;
        let code = code.ok().flatten().context("no mail with a code arrived")?;
        let verified = client.verify_email(&email, &code).await?;
        let account = Register {
            email,
            registration_token: Some(verified.registration_token),
            login: "bench".to_owned(),
            password: password.clone(),
            password_confirm: None,
            birth_date: None,
            phone_number: None,
        };
        client.register(&account).await?;
        client.sign_in("bench", password).await?;
        Ok(client)
    }

    async fn next_code(&mut self) -> Option<String> {
        loop {
            if let Output::Mail { code: Some(code) } = self.output.recv().await? {
                return Some(code);
            }
        }
    }

    /// Stops the platform gracefully.
    pub fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "the platform ended with {status}");
        Ok(())
    }
}

impl Drop for EmbeddedPlatform {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn kill(child: &mut Child) {
    // Both fail only if the process has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads all output, since a full pipe would block the platform, and sends on the lines
/// that the bench needs.
fn read_output(stdout: ChildStdout, output: &mpsc::UnboundedSender<Output>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Output::Other) | Err(_) => {}
            // Fails if the bench needs no more output.
            Ok(event) => drop(output.send(event)),
        }
    }
}
