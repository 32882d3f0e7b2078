//! A mail server in the process of a test, which fails as it is told.

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
/// That user's password, which a URL can't hold as it is.
pub const PASSWORD: &str = "p@ss/w:rd";

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Never.
    None,
    /// With STARTTLS.
    Offered,
    /// With the connection.
    FromStart,
}

/// What a server is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// When TLS begins.
    pub encryption: Encryption,
    /// The ways of signing in that are offered, such as `PLAIN LOGIN`; without any nobody
    /// needs to.
    pub mechanisms: &'static str,
    /// Whether it takes addresses beyond ASCII.
    pub is_international: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { encryption: Encryption::None, mechanisms: "", is_international: true }
    }
}

/// What a client has just done when something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It connected.
    Connect,
    /// It named the sender.
    Sender,
    /// It named the recipient.
    Recipient,
    /// It sent the whole mail.
    Content,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server answers with this line.
    Say(&'static str),
    /// The server says nothing any more.
    Hang,
    /// The server hangs up; a mail that it has it keeps.
    HangUp,
}

/// A server, until it is dropped.
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
    sign_ins: AtomicUsize,
}

impl Server {
    /// Starts one.
    pub async fn start(options: Options) -> Result<Self> {
        Self::start_at("127.0.0.1:0".parse()?, options).await
    }

    /// Starts one at an address of a former one.
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
            sign_ins: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, files, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file with the certificate of who signed the server's, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// Lets every mail from now on go wrong at `stage`.
    pub fn fail(&self, stage: Stage, fault: Fault) {
        *self.state.fault.lock() = Some((stage, fault));
    }

    /// Lets everything go well again.
    pub fn work(&self) {
        *self.state.fault.lock() = None;
    }

    /// What it took.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        self.state.mails.lock().clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How often somebody tried to sign in.
    pub fn sign_ins(&self) -> usize {
        self.state.sign_ins.load(Ordering::SeqCst)
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

/// Serves until it is dropped, and all connections with it.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        // A client that breaks off is the client's business.
        sessions.spawn(async move { session::serve(stream, &state).await.ok() });
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
