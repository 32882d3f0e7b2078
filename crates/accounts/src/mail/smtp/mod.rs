//! `smtp://` and `smtps://`: mail that a server takes over.

mod connections;
mod fault;
mod message;
mod server;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use lettre::message::Mailbox;
use miniapp_runtime::clock::Clock;
use tokio::time::{Instant, timeout_at};

use self::connections::{Connection, Connections};
use self::fault::Fault;
use self::message::Message;
use self::server::Server;
use super::{Mail, MailError, Mailer};
use crate::config::MailConfig;

/// Sends mail through a server.
pub struct SmtpMailer {
    from: Mailbox,
    clock: Arc<dyn Clock>,
    limit: Duration,
    connections: Connections,
}

impl SmtpMailer {
    /// Sends through the server that `mail.url` names. It isn't asked for yet, and may come
    /// later.
    pub fn new(config: &MailConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let server = Server::parse(&config.url).context("mail.url can't be used")?;
        let from = message::sender(&config.from).context("mail.from can't be used")?;
        let connections = Connections::new(server);
        Ok(Self { from, clock, limit: config.timeout, connections })
    }

    async fn connection(&self, deadline: Instant) -> Result<Connection<'_>, Fault> {
        let connection = timeout_at(deadline, self.connections.take()).await;
        connection.unwrap_or_else(|_| Err(Fault::no_connection_in_time(self.connections.server())))
    }

    async fn deliver(&self, message: &Message) -> Result<(), Fault> {
        let deadline = Instant::now() + self.limit;
        let mut connection = self.connection(deadline).await?;
        // A connection whose last command has no answer yet is of no use to anybody: given
        // up in the middle, it is closed.
        match timeout_at(deadline, connection.deliver(message)).await {
            Ok(Ok(())) => {
                connection.park();
                Ok(())
            }
            Ok(Err(fault)) => {
                if let Ok(true) = timeout_at(deadline, connection.reset()).await {
                    connection.park();
                }
                Err(fault)
            }
            Err(_) => Err(Fault::no_answer_in_time(self.connections.server())),
        }
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = Message::write(mail, &self.from, self.clock.now());
        let message = message.map_err(|error| MailError::Permanent(format!("{error:#}")))?;
        let sent = self.deliver(&message).await;
        sent.map_err(|fault| fault.hiding(mail.code()).into())
    }

    async fn ping(&self) -> Result<(), MailError> {
        self.connection(Instant::now() + self.limit).await?.park();
        Ok(())
    }
}
