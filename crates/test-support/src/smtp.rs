//! An in-process SMTP server with fault injection.

mod mail;
mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use mail::ReceivedMail;

use crate::certificate::Certificate;

/// The only user.
pub const USER: &str = "ada@example.com";
/// A password that must be percent-encoded in a URL.
pub const PASSWORD: &str = "p@ss/w:rd";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    None,
    StartTls,
    Implicit,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub encryption: Encryption,
    /// The AUTH mechanisms, such as `PLAIN LOGIN`. Without any, no authentication is required.
    pub mechanisms: &'static str,
    /// Whether the server supports international addresses.
    pub smtputf8: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { encryption: Encryption::None, mechanisms: "", smtputf8: true }
    }
}

/// When a fault occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// After the connection.
    Connect,
    /// After `EHLO`.
    Hello,
    /// After `STARTTLS`.
    StartTls,
    /// After each step of `AUTH LOGIN` but the last.
    Prompt,
    /// After the password.
    Auth,
    /// After `MAIL`.
    Sender,
    /// After `RCPT`.
    Recipient,
    /// After `DATA`.
    Data,
    /// After the complete mail.
    Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server replies with this line, and does not do what the command says.
    Reply(&'static str),
    /// The server sends these bytes instead of its reply, and does what the command says.
    Bytes(&'static [u8]),
    /// The server sends these bytes until it is disconnected.
    Endless(&'static [u8]),
    /// The server stops replying.
    Hang,
    /// The server disconnects. It keeps a complete mail.
    HangUp,
}

/// A server that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    files: TempDir,
    accepting: JoinHandle<()>,
}

struct State {
    options: Options,
    tls: TlsAcceptor,
    fault: Mutex<Option<(Stage, Fault)>>,
    mails: Mutex<Vec<ReceivedMail>>,
    connections: AtomicUsize,
    auth_attempts: AtomicUsize,
    open_connections: AtomicUsize,
}

impl Server {
    pub async fn start(options: Options) -> Result<Self> {
        Self::start_at("127.0.0.1:0".parse()?, options).await
    }

    /// Starts a server at the address of a previous one.
    pub async fn start_at(address: SocketAddr, options: Options) -> Result<Self> {
        let certificate = Certificate::for_localhost()?;
        let files = tempfile::tempdir()?;
        std::fs::write(files.path().join("ca.pem"), &certificate.authority)?;
        let state = Arc::new(State {
            options,
            tls: acceptor(&certificate)?,
            fault: Mutex::default(),
            mails: Mutex::default(),
            connections: AtomicUsize::new(0),
            auth_attempts: AtomicUsize::new(0),
            open_connections: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, files, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the path of the CA certificate in PEM.
    pub fn ca_certificate(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// Injects a fault into every mail from now on.
    pub fn fail(&self, stage: Stage, fault: Fault) {
        *self.state.fault.lock() = Some((stage, fault));
    }

    pub fn recover(&self) {
        *self.state.fault.lock() = None;
    }

    pub fn mails(&self) -> Vec<ReceivedMail> {
        self.state.mails.lock().clone()
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Returns the number of authentication attempts so far.
    pub fn auth_attempts(&self) -> usize {
        self.state.auth_attempts.load(Ordering::SeqCst)
    }

    /// Returns the number of connections that neither side has closed.
    pub fn open_connections(&self) -> usize {
        self.state.open_connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    fn fault(&self, at: Stage) -> Option<Fault> {
        self.fault.lock().filter(|(stage, _)| *stage == at).map(|(_, fault)| fault)
    }
}

/// Accepts connections. Dropping the future closes them.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        sessions.spawn(async move {
            state.open_connections.fetch_add(1, Ordering::SeqCst);
            // Disconnecting clients are expected.
            let _ = session::serve(stream, &state).await;
            state.open_connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn acceptor(certificate: &Certificate) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
