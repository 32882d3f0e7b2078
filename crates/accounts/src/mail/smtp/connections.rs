//! Connections to the server, kept for the next mail.
//!
//! The pool that comes with the client takes back a connection whose mail was given up in
//! the middle, where the next command would become part of that mail. Here a connection
//! comes back only when whoever has it says so.

use std::time::Duration;

use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::fault::{Fault, Stage};
use super::message::Message;
use super::server::Server;

/// Connections at once.
const MOST: usize = 4;
/// A connection that nobody used for longer may be dead without telling.
const IDLE: Duration = Duration::from_secs(30);
/// How long the server isn't asked again once it said what only somebody's hands can change:
/// servers lock out whoever keeps trying a wrong password.
const REMEMBERED: Duration = Duration::from_secs(30);

/// The server and the connections to it.
pub(super) struct Connections {
    server: Server,
    hello: ClientId,
    permits: Semaphore,
    parked: Mutex<Vec<(Instant, AsyncSmtpConnection)>>,
    refusal: Mutex<Option<(Instant, Fault)>>,
}

/// A connection in use. It is closed unless it is [parked](Self::park).
pub(super) struct Connection<'a> {
    inner: AsyncSmtpConnection,
    pool: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

impl Connections {
    pub fn new(server: Server) -> Self {
        Self {
            server,
            hello: ClientId::default(),
            permits: Semaphore::new(MOST),
            parked: Mutex::default(),
            refusal: Mutex::default(),
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A connection that answers.
    pub async fn take(&self) -> Result<Connection<'_>, Fault> {
        let permit = self.permits.acquire().await;
        let permit = permit.map_err(|_| Fault::later("no mail is sent any more".to_owned()))?;
        while let Some(mut inner) = self.unpark() {
            if inner.test_connected().await {
                return Ok(Connection { inner, pool: self, _permit: permit });
            }
        }
        if let Some((at, fault)) = &*self.refusal.lock()
            && at.elapsed() < REMEMBERED
        {
            return Err(fault.clone());
        }
        let connected = self.connect().await;
        let fault = connected.as_ref().err().filter(|fault| fault.needs_hands());
        *self.refusal.lock() = fault.map(|fault| (Instant::now(), fault.clone()));
        Ok(Connection { inner: connected?, pool: self, _permit: permit })
    }

    fn unpark(&self) -> Option<AsyncSmtpConnection> {
        let mut parked = self.parked.lock();
        parked.retain(|(since, _)| since.elapsed() < IDLE);
        parked.pop().map(|(_, connection)| connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Fault> {
        let Self { server, hello, .. } = self;
        let from_start = match &server.tls {
            Tls::Wrapper(parameters) => Some(parameters.clone()),
            _ => None,
        };
        let place = (server.host.as_str(), server.port);
        let connected =
            AsyncSmtpConnection::connect_tokio1(place, None, hello, from_start, None).await;
        let mut connection = connected.map_err(|error| Fault::connecting(server, &error))?;
        match &server.tls {
            Tls::Required(_) if !connection.can_starttls() => {
                return Err(Fault::no_starttls(server));
            }
            Tls::Required(parameters) | Tls::Opportunistic(parameters)
                if connection.can_starttls() =>
            {
                let secured = connection.starttls(parameters.clone(), hello).await;
                secured.map_err(|error| Fault::securing(server, &error))?;
            }
            _ => {}
        }
        if let Some(credentials) = &server.credentials {
            let known = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            known.map_err(|error| Fault::signing_in(server, &error))?;
        }
        Ok(connection)
    }
}

impl Connection<'_> {
    /// Keeps the connection for the next mail.
    pub fn park(self) {
        self.pool.parked.lock().push((Instant::now(), self.inner));
    }

    /// Makes it forget a mail that was refused; whether it can be used again.
    pub async fn reset(&mut self) -> bool {
        self.inner.command(Rset).await.is_ok()
    }

    /// Hands over a mail. The server is responsible for it once it took all of it.
    pub async fn deliver(&mut self, message: &Message) -> Result<(), Fault> {
        let server = &self.pool.server;
        let failed = |stage| move |error| Fault::delivering(server, stage, &error);
        let connection = &mut self.inner;
        let mut parameters = Vec::new();
        if message.is_international() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Fault::not_international(server));
            }
            parameters.push(MailParameter::SmtpUtfEight);
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let from = Mail::new(Some(message.from.clone()), parameters);
        connection.command(from).await.map_err(failed(Stage::Sender))?;
        let to = Rcpt::new(message.to.clone(), Vec::new());
        connection.command(to).await.map_err(failed(Stage::Recipient))?;
        connection.command(Data).await.map_err(failed(Stage::Content))?;
        connection.message(&message.bytes).await.map_err(failed(Stage::Content))?;
        Ok(())
    }
}
