//! One connection, from its handshake to its end.

use std::collections::HashSet;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use lapin::options::ConfirmSelectOptions;
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::{Channel, Connection, ConnectionProperties, Event};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout, timeout_at};

use super::address::Address;
use super::error::{ConnectionError, describe};
use super::topology::{self, Topology};
use crate::{BrokerError, WorkQueue};

/// Limits connecting, including the AMQP handshake, and declaring the topology.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between noticing that a queue was deleted and redeclaring it. The server needs
/// it to cancel the old consumers; it has been seen to attach remaining ones to the new
/// queue without delivering to them.
const REDECLARE_DELAY: Duration = Duration::from_millis(500);
/// The number of work queues that a connection remembers to have declared.
const MAX_KNOWN_QUEUES: usize = 1024;
/// How often the status is polled, in case lapin does not report an event.
const STATUS_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A connection. A lost one is not restored; the [supervisor](super::supervisor) opens
/// another.
pub(super) struct LiveConnection {
    connection: Connection,
    socket: Socket,
    /// Idle channels in confirm mode.
    idle_channels: Mutex<Vec<Channel>>,
    /// Why the server blocks publishing, while it does.
    blocked: watch::Sender<Option<Arc<str>>>,
    address: Address,
    topology: Arc<Topology>,
    /// Those that exist.
    work_queues: Mutex<HashSet<WorkQueue>>,
}

impl LiveConnection {
    /// Connects and declares the topology.
    pub async fn open(
        address: &Address,
        topology: &Arc<Topology>,
        purpose: &str,
    ) -> Result<Self, ConnectionError> {
        let socket = Socket::default();
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let opened = timeout_at(deadline, connect(address, purpose, socket.clone())).await;
        let connection = opened
            .map_err(|_| {
                // lapin would wait for as long as the server keeps the socket open.
                socket.abort();
                ConnectionError::transient(format!("{address} doesn't respond"))
            })?
            .map_err(|error| ConnectionError::from_connect(address, &error))?;
        let live = Self {
            connection,
            socket,
            idle_channels: Mutex::default(),
            blocked: watch::Sender::new(None),
            address: address.clone(),
            topology: topology.clone(),
            work_queues: Mutex::default(),
        };
        live.declare_until(deadline).await?;
        Ok(live)
    }

    /// Declares the topology. Harmless if it exists.
    pub async fn declare(&self) -> Result<(), ConnectionError> {
        self.declare_until(Instant::now() + HANDSHAKE_TIMEOUT).await
    }

    async fn declare_until(&self, deadline: Instant) -> Result<(), ConnectionError> {
        timeout_at(deadline, self.topology.ensure(&self.connection))
            .await
            .map_err(|_| {
                // lapin would wait for the server to confirm the end of the connection.
                self.abort();
                ConnectionError::transient(format!("{} doesn't respond", self.address))
            })?
            .map_err(|error| ConnectionError::from_declare(&self.address, &error))
    }

    /// Declares deleted queues and exchanges again, so that the next attempt succeeds.
    pub async fn redeclare(&self) {
        tracing::warn!(server = %self.address, "a queue or exchange is missing; redeclaring it");
        self.work_queues.lock().clear();
        sleep(REDECLARE_DELAY).await;
        if self.declare().await.is_err() {
            // The next connection attempt reports the error.
            self.abort();
        }
    }

    /// Declares a work queue unless this connection has done so.
    pub async fn ensure_work_queue(&self, work: WorkQueue) -> lapin::Result<()> {
        if self.work_queues.lock().contains(&work) {
            return Ok(());
        }
        topology::ensure_work_queue(&self.connection, work).await?;
        let mut known = self.work_queues.lock();
        if known.len() >= MAX_KNOWN_QUEUES {
            known.clear();
        }
        known.insert(work);
        Ok(())
    }

    /// Forgets that a work queue exists: it may have been deleted.
    pub fn forget_work_queue(&self, work: WorkQueue) {
        self.work_queues.lock().remove(&work);
    }

    /// Opens a channel for a consumer.
    pub async fn open_channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// Returns a channel in confirm mode for exclusive use. It is [returned] afterwards, or
    /// dropped if it failed.
    ///
    /// [returned]: Self::return_channel
    pub async fn confirm_channel(&self) -> lapin::Result<Channel> {
        let idle = self.idle_channels.lock().pop();
        if let Some(channel) = idle.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    pub fn return_channel(&self, channel: Channel) {
        self.idle_channels.lock().push(channel);
    }

    /// Fails while the server blocks publishing.
    pub fn check_not_blocked(&self) -> Result<(), BrokerError> {
        match &*self.blocked.borrow() {
            Some(reason) => Err(blocked(reason)),
            None => Ok(()),
        }
    }

    /// Waits until the server blocks publishing, and returns the error.
    pub async fn wait_blocked(&self) -> BrokerError {
        let mut reason = self.blocked.subscribe();
        match reason.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => blocked(reason),
            // Unreachable: `self` owns the sender.
            _ => BrokerError::Unavailable("the connection ended".into()),
        }
    }

    /// Returns the events of the connection. Must be called before the connection is used.
    pub fn events(&self) -> BoxStream<'static, Event> {
        self.connection.events_listener().boxed()
    }

    /// Waits for the end of the connection and returns the reason.
    pub async fn closed(&self, mut events: BoxStream<'static, Event>) -> ConnectionError {
        let mut poll = interval(STATUS_POLL_INTERVAL);
        let mut why = None;
        while self.connection.status().connected() {
            tokio::select! {
                Some(event) = events.next() => match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(reason, "RabbitMQ blocked publishing");
                        self.blocked.send_replace(Some(reason.into()));
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!("RabbitMQ unblocked publishing");
                        self.blocked.send_replace(None);
                    }
                    // Errors of single channels come here, too; their users see them anyway.
                    Event::Error(error) => why = Some(describe(&error)),
                    _ => {}
                },
                _ = poll.tick() => {}
            }
        }
        let why = why.unwrap_or_else(|| "it ended".to_owned());
        ConnectionError::transient(format!("lost the connection to {}: {why}", self.address))
    }

    /// Logs that a consumer of `what` ended. Not if the connection has ended, which the
    /// supervisor logs once.
    pub fn log_end_of(&self, what: &str, why: &str) {
        if self.connection.status().connected() {
            tracing::warn!(what, error = why, "a RabbitMQ consumer ended; resubscribing");
        }
    }

    /// Closes the socket, for when lapin hangs.
    pub fn abort(&self) {
        self.socket.abort();
    }
}

impl Drop for LiveConnection {
    fn drop(&mut self) {
        // lapin closes connections in order, which hangs if the server reads nothing.
        if self.check_not_blocked().is_err() {
            self.abort();
        }
    }
}

fn blocked(reason: &str) -> BrokerError {
    BrokerError::Unavailable(format!("RabbitMQ blocked publishing: {reason}"))
}

async fn connect(address: &Address, purpose: &str, socket: Socket) -> lapin::Result<Connection> {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_stem()).unwrap_or_default();
    let name = format!("{} ({purpose})", program.to_string_lossy());
    let tls = address.is_tls().then(|| address.tls.clone());
    Connection::connector(
        address.uri.clone(),
        lapin::runtime::default_runtime()?,
        async move |uri, runtime| {
            let connecting = async {
                let authority = &uri.authority;
                let addresses = tokio::net::lookup_host((&*authority.host, authority.port)).await?;
                let addresses: Vec<_> = addresses.collect();
                let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                if let AsyncTcpStream::Plain(stream) = &stream {
                    socket.keep(stream.get_ref())?;
                }
                match tls.as_ref().map(OwnedTLSConfig::as_ref) {
                    Some(tls) => stream.into_tls(&authority.host, tls).await,
                    None => Ok(stream),
                }
            };
            Ok(timeout(HANDSHAKE_TIMEOUT, connecting).await.map_err(std::io::Error::from)??)
        },
        ConnectionProperties::default().with_connection_name(name.into_bytes().into()),
    )
    .await
}

/// A second handle to the socket of a connection.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn keep(&self, stream: &tokio::net::TcpStream) -> std::io::Result<()> {
        let stream = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        *self.0.lock() = Some(stream);
        Ok(())
    }

    fn abort(&self) {
        if let Some(stream) = self.0.lock().take() {
            // Fails if the connection is already closed.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
