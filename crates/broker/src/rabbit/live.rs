//! One connection, from its handshake to its end.

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
use tokio::time::{interval, sleep, timeout};

use super::address::Address;
use super::fault::{Fault, describe};
use super::topology;
use crate::BrokerError;

/// How long a connection and its handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a queue that was deleted stays so, for the server to end its consumers. Those
/// it finds the queue there again for, it takes over to the new one, where it has been
/// seen to keep their messages to itself.
const PARTING: Duration = Duration::from_millis(500);
/// How often to look at what the client may have forgotten to tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection. Once it is lost it stays so; the [link](super::link) makes another.
pub(super) struct Live {
    connection: Connection,
    socket: Socket,
    /// Open channels with confirms that nobody uses now.
    spare: Mutex<Vec<Channel>>,
    /// Why the server takes no messages, while it takes none.
    blocked: watch::Sender<Option<Arc<str>>>,
    address: Address,
}

impl Live {
    /// Connects, and declares what has to be there.
    pub async fn open(address: &Address, purpose: &str) -> Result<Self, Fault> {
        let socket = Socket::default();
        let opened = timeout(HANDSHAKE, connect(address, purpose, socket.clone())).await;
        let connection = opened
            .map_err(|_| {
                // The client would wait for as long as the server keeps the socket open.
                socket.hang_up();
                Fault::passing(format!("{address} doesn't answer"))
            })?
            .map_err(|error| Fault::connecting(address, &error))?;
        let live = Self {
            connection,
            socket,
            spare: Mutex::default(),
            blocked: watch::Sender::new(None),
            address: address.clone(),
        };
        live.declare().await?;
        Ok(live)
    }

    /// Declares what has to be there, also when something of it got lost since.
    pub async fn declare(&self) -> Result<(), Fault> {
        let declaring = async {
            let channel = self.connection.create_channel().await?;
            topology::declare(&channel).await
        };
        timeout(HANDSHAKE, declaring)
            .await
            .map_err(|_| Fault::passing(format!("{} doesn't answer", self.address)))?
            .map_err(|error| Fault::declaring(&self.address, &error))
    }

    /// Declares again what somebody has deleted, so that the next try works.
    pub async fn restore(&self) {
        tracing::warn!(server = %self.address, "a queue or exchange is missing; redeclaring it");
        sleep(PARTING).await;
        if self.declare().await.is_err() {
            // The next connection tells what is wrong.
            self.hang_up();
        }
    }

    /// A channel for a consumer.
    pub async fn fresh_channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// A channel with confirms that is the caller's alone until it is
    /// [returned](Self::give_back); one that failed is simply dropped.
    pub async fn channel(&self) -> lapin::Result<Channel> {
        let spare = self.spare.lock().pop();
        if let Some(channel) = spare.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    pub fn give_back(&self, channel: Channel) {
        self.spare.lock().push(channel);
    }

    /// Fails while the server takes no messages.
    pub fn takes_messages(&self) -> Result<(), BrokerError> {
        match &*self.blocked.borrow() {
            Some(reason) => Err(blocked(reason)),
            None => Ok(()),
        }
    }

    /// Waits until the server takes no messages, and says so.
    pub async fn takes_no_messages(&self) -> BrokerError {
        let mut blocked_now = self.blocked.subscribe();
        match blocked_now.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => blocked(reason),
            // The sender is ours, and the condition was met.
            _ => BrokerError::Unavailable("the connection ended".into()),
        }
    }

    /// What the client tells of the connection; to be asked for before anyone uses it.
    pub fn events(&self) -> BoxStream<'static, Event> {
        self.connection.events_listener().boxed()
    }

    /// Waits for the end of the connection, and says why it ended.
    pub async fn ended(&self, mut events: BoxStream<'static, Event>) -> Fault {
        let mut look = interval(LOOK_EVERY);
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
                    // Also of single channels, whose users know by themselves.
                    Event::Error(error) => why = Some(describe(&error)),
                    _ => {}
                },
                _ = look.tick() => {}
            }
        }
        let why = why.unwrap_or_else(|| "it ended".to_owned());
        Fault::passing(format!("lost the connection to {}: {why}", self.address))
    }

    /// Logs that `what` came no longer over this connection. Where the connection itself
    /// has ended, that has been told once for all of them.
    pub fn tell_end_of(&self, what: &str, why: &str) {
        if self.connection.status().connected() {
            tracing::warn!(what, error = why, "a RabbitMQ consumer ended; resubscribing");
        }
    }

    /// Ends the connection without asking anyone, for when the client hangs.
    pub fn hang_up(&self) {
        self.socket.hang_up();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // The client says goodbye, but not on a connection that the server doesn't read.
        if self.takes_messages().is_err() {
            self.hang_up();
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
            Ok(timeout(HANDSHAKE, connecting).await.map_err(std::io::Error::from)??)
        },
        ConnectionProperties::default().with_connection_name(name.into_bytes().into()),
    )
    .await
}

/// A second handle on a connection's socket.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn keep(&self, stream: &tokio::net::TcpStream) -> std::io::Result<()> {
        let stream = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        *self.0.lock() = Some(stream);
        Ok(())
    }

    fn hang_up(&self) {
        if let Some(stream) = self.0.lock().take() {
            // It fails where the connection is gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
