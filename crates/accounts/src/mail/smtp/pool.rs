//! Connections to the mail server.
//!
//! The pool of the SMTP library takes back a connection whose mail was cancelled halfway, so
//! that the next command becomes part of that mail. Here a connection returns to the pool
//! only if it is released.

use std::time::Duration;

use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::error::{SmtpError, Stage};
use super::message::Message;
use super::server::Server;

const MAX_CONNECTIONS: usize = 4;
/// Connections that are idle for longer are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server is left alone after an error that needs intervention: servers lock
/// out clients that repeat a wrong password.
const BACKOFF: Duration = Duration::from_secs(30);

pub(super) struct ConnectionPool {
    server: Server,
    hello: ClientId,
    permits: Semaphore,
    /// Idle connections and since when they are.
    idle: Mutex<Vec<(Instant, AsyncSmtpConnection)>>,
    /// The last error, if it needs intervention.
    last_error: Mutex<Option<(Instant, SmtpError)>>,
}

/// A connection in use. It is closed unless it is [released](Self::release).
pub(super) struct PooledConnection<'a> {
    inner: AsyncSmtpConnection,
    pool: &'a ConnectionPool,
    _permit: SemaphorePermit<'a>,
}

impl ConnectionPool {
    pub fn new(server: Server) -> Self {
        Self {
            server,
            hello: ClientId::default(),
            permits: Semaphore::new(MAX_CONNECTIONS),
            idle: Mutex::default(),
            last_error: Mutex::default(),
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns an idle connection that still works, or a new one.
    pub async fn acquire(&self) -> Result<PooledConnection<'_>, SmtpError> {
        let permit = self.permits.acquire().await;
        let permit = permit.map_err(|_| SmtpError::temporary("the pool is closed".to_owned()))?;
        while let Some(mut inner) = self.take_idle() {
            if inner.test_connected().await {
                return Ok(PooledConnection { inner, pool: self, _permit: permit });
            }
        }
        if let Some((at, error)) = &*self.last_error.lock()
            && at.elapsed() < BACKOFF
        {
            return Err(error.clone());
        }
        let connected = self.connect().await;
        let error = connected.as_ref().err().filter(|error| error.needs_intervention());
        *self.last_error.lock() = error.map(|error| (Instant::now(), error.clone()));
        Ok(PooledConnection { inner: connected?, pool: self, _permit: permit })
    }

    fn take_idle(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|(since, _)| since.elapsed() < IDLE_TIMEOUT);
        idle.pop().map(|(_, connection)| connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let Self { server, hello, .. } = self;
        let implicit_tls = match &server.tls {
            Tls::Wrapper(parameters) => Some(parameters.clone()),
            _ => None,
        };
        let address = (server.host.as_str(), server.port);
        let connected =
            AsyncSmtpConnection::connect_tokio1(address, None, hello, implicit_tls, None).await;
        let mut connection = connected.map_err(|error| SmtpError::connect(server, &error))?;
        match &server.tls {
            Tls::Required(_) if !connection.can_starttls() => {
                return Err(SmtpError::starttls_missing(server));
            }
            Tls::Required(parameters) | Tls::Opportunistic(parameters)
                if connection.can_starttls() =>
            {
                let secured = connection.starttls(parameters.clone(), hello).await;
                secured.map_err(|error| SmtpError::tls(server, &error))?;
            }
            _ => {}
        }
        if let Some(credentials) = &server.credentials {
            let authenticated = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            authenticated.map_err(|error| SmtpError::auth(server, &error))?;
        }
        Ok(connection)
    }
}

impl PooledConnection<'_> {
    /// Returns the connection to the pool.
    pub fn release(self) {
        self.pool.idle.lock().push((Instant::now(), self.inner));
    }

    /// Resets the connection after a rejected mail. Returns whether it can be used again.
    pub async fn reset(&mut self) -> bool {
        self.inner.command(Rset).await.is_ok()
    }

    /// Hands a mail over. On success the server is responsible for it.
    pub async fn deliver(&mut self, message: &Message) -> Result<(), SmtpError> {
        let server = &self.pool.server;
        let failed = |stage| move |error| SmtpError::delivery(server, stage, &error);
        let connection = &mut self.inner;
        let mut parameters = Vec::new();
        if message.is_international() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(SmtpError::smtputf8_missing(server));
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
