//! A platform in a process of its own, started for the bench and gone with it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use miniapp_client::Client;
use miniapp_types::account::{Register, Secret};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::sync::mpsc;

/// A platform that isn't up by then never will be.
const PATIENCE: Duration = Duration::from_secs(30);

/// The running platform.
pub struct Server {
    child: Child,
    said: mpsc::UnboundedReceiver<Said>,
    /// Where it listens.
    pub addresses: Addresses,
    /// From exec to listening.
    pub start_up: Duration,
}

/// Where a platform listens.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Addresses {
    /// The API.
    pub api: SocketAddr,
    /// Auth.
    pub auth: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

/// What `miniapp serve --json` says, as far as it matters here.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
enum Said {
    Listening(Addresses),
    Mail {
        code: Option<String>,
    },
    #[serde(other)]
    Else,
}

impl Server {
    /// Starts this program as a platform on free ports with its files in `directory`.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--json"])
            .env("MINIAPP__DATA_DIR", directory)
            .envs([
                ("MINIAPP__API__LISTEN", "127.0.0.1:0"),
                ("MINIAPP__AUTH__LISTEN", "127.0.0.1:0"),
                ("MINIAPP__ADMIN__LISTEN", "127.0.0.1:0"),
                // One token for all phases.
                ("MINIAPP__AUTH__ACCESS_TTL", "12h"),
                // It renews a token more often than people do.
                ("MINIAPP__LIMITS__PER_IP", "0"),
                ("MINIAPP__LOG__LEVEL", "warn"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start the platform")?;
        let stdout = child.stdout.take().context("the platform has no standard output")?;
        let (sender, mut said) = mpsc::unbounded_channel();
        std::thread::spawn(move || listen(stdout, &sender));
        let first = tokio::time::timeout(PATIENCE, said.recv()).await;
        let start_up = begin.elapsed();
        let Some(Said::Listening(addresses)) = first.ok().flatten() else {
            end(&mut child);
            bail!("the platform didn't come up");
        };
        Ok(Self { child, said, addresses, start_up })
    }

    /// Makes an account on the platform and signs in.
    pub async fn sign_up(&mut self) -> anyhow::Result<Client> {
        let Addresses { api, auth, .. } = self.addresses;
        let client =
            Client::builder(format!("http://{api}")).auth_url(format!("http://{auth}")).build()?;
        let (email, password) =
            ("bench@example.com".to_owned(), Secret::new("seven quiet lanterns"));
        client.send_code(&email).await?;
        let code = tokio::time::timeout(PATIENCE, self.code()).await;
        let code = code.ok().flatten().context("no mail came")?;
        client.verify_email(&email, &code).await?;
        let account = Register {
            email,
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

    async fn code(&mut self) -> Option<String> {
        loop {
            if let Said::Mail { code: Some(code) } = self.said.recv().await? {
                return Some(code);
            }
        }
    }

    /// Stops the platform and waits for its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let ended = tokio::task::spawn_blocking(move || self.child.wait()).await??;
        anyhow::ensure!(ended.success(), "the platform ended with {ended}");
        Ok(())
    }
}

impl Drop for Server {
    /// A bench that fails takes its platform with it.
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Both fail only where it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads all that the platform says, or it would wait for a reader, and passes on what
/// matters.
fn listen(stdout: ChildStdout, said: &mpsc::UnboundedSender<Said>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Said::Else) | Err(_) => {}
            Ok(matters) => {
                // Nobody may be waiting for it any more.
                let _ = said.send(matters);
            }
        }
    }
}
