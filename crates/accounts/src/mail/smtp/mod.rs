//! `smtp://` and `smtps://`: mail through a mail server.

mod connection;
mod error;
mod message;
mod pool;
mod reply;
mod server;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use lettre::message::Mailbox;
use miniapp_runtime::clock::Clock;
use tokio::time::{Instant, timeout_at};

use self::error::SmtpError;
use self::message::Message;
use self::pool::{ConnectionPool, PooledConnection};
use self::server::Server;
use super::{Mail, MailError, Mailer};
use crate::config::MailConfig;

/// Sends mail through a mail server.
pub struct SmtpMailer {
    from: Mailbox,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    pool: ConnectionPool,
}

impl SmtpMailer {
    /// Uses the server of `mail.url`. It is contacted with the first mail, and may become
    /// available later.
    pub fn new(config: &MailConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let server = Server::parse(&config.url).context("mail.url can't be used")?;
        let from = message::sender(&config.from).context("mail.from can't be used")?;
        Ok(Self { from, clock, timeout: config.timeout, pool: ConnectionPool::new(server) })
    }

    async fn connection(&self, deadline: Instant) -> Result<PooledConnection<'_>, SmtpError> {
        let connection = timeout_at(deadline, self.pool.acquire()).await;
        connection.unwrap_or_else(|_| Err(SmtpError::connect_timeout(self.pool.server())))
    }

    async fn deliver(&self, message: &Message) -> Result<(), SmtpError> {
        let deadline = Instant::now() + self.timeout;
        let mut connection = self.connection(deadline).await?;
        // After a timeout the connection is dropped, because an answer is still pending on it.
        match timeout_at(deadline, connection.deliver(message)).await {
            Ok(Ok(())) => {
                connection.release();
                Ok(())
            }
            Ok(Err(error)) => {
                if let Ok(true) = timeout_at(deadline, connection.reset()).await {
                    connection.release();
                }
                Err(error)
            }
            Err(_) => Err(SmtpError::delivery_timeout(self.pool.server())),
        }
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = Message::render(mail, &self.from, self.clock.now());
        let message = message.map_err(|error| MailError::Permanent(format!("{error:#}")))?;
        let sent = self.deliver(&message).await;
        sent.map_err(|error| error.redacting(mail.code()).into())
    }

    async fn ping(&self) -> Result<(), MailError> {
        self.connection(Instant::now() + self.timeout).await?.release();
        Ok(())
    }
}
