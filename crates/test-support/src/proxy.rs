//! A TCP proxy that injects network faults.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::TIMEOUT;

const CHUNK_BYTES: usize = 16 * 1024;
/// The number of chunks in flight per direction of a connection.
const MAX_IN_FLIGHT: usize = 64;

/// The direction of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
    Both,
}

/// Forwards connections from its own port to a server. Dropping it resets them.
pub struct Proxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    accepting: AbortHandle,
}

/// The faults of the connections.
#[derive(Clone, Debug, Default)]
struct Faults {
    /// The number of connections so far, which are numbered from 0.
    accepted: u64,
    delay: Range<Duration>,
    stalled: Option<Direction>,
    /// Responses after so many of a connection are held back.
    silent_after: Option<u64>,
    /// A response has been held back since the last [`Proxy::silence_after`].
    is_silent: bool,
    /// Connections with smaller numbers forward nothing.
    lost_below: u64,
    /// Connections with smaller numbers are reset.
    cut_below: u64,
}

impl Proxy {
    /// Starts a proxy for the server at `target`, such as `127.0.0.1:5432`. Random delays
    /// depend on `seed`.
    pub async fn to(target: impl Into<String>, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let faults = watch::Sender::new(Faults::default());
        let accepting = tokio::spawn(accept(listener, target.into(), seed, faults.clone()));
        Ok(Self { address, faults, accepting: accepting.abort_handle() })
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of connections so far, including closed ones.
    pub fn accepted(&self) -> u64 {
        self.faults.borrow().accepted
    }

    /// Delays data in both directions by a random time. The order is kept.
    pub fn delay(&self, delay: Range<Duration>) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Holds back data in `direction`, like an unplugged cable. Connections stay open, and new
    /// ones are accepted.
    pub fn stall(&self, direction: Direction) {
        self.faults.send_modify(|faults| faults.stalled = Some(direction));
    }

    /// Silences the server after the first `steps` responses of each connection: it still
    /// receives everything, but what it sends is held back. New connections are silenced at the
    /// same step, open ones that are past it at once.
    ///
    /// A response is all that the server sends until the client sends again. A greeting is one,
    /// too. With 0 steps, the server only accepts connections.
    pub fn silence_after(&self, steps: u64) {
        self.faults.send_modify(|faults| {
            faults.silent_after = Some(steps);
            faults.is_silent = false;
        });
    }

    /// Waits until a response is held back by [`silence_after`](Self::silence_after), so that a
    /// test cannot pass because its step is never reached.
    pub async fn until_silent(&self) {
        let mut faults = self.faults.subscribe();
        let silenced = timeout(TIMEOUT, faults.wait_for(|faults| faults.is_silent)).await;
        let steps = self.faults.borrow().silent_after;
        assert!(silenced.is_ok(), "timed out waiting for a response after step {steps:?}");
    }

    /// Ends [`delay`](Self::delay), [`stall`](Self::stall) and
    /// [`silence_after`](Self::silence_after). Held data is delivered.
    pub fn heal(&self) {
        self.faults.send_modify(|faults| {
            faults.delay = Range::default();
            faults.stalled = None;
            faults.silent_after = None;
        });
    }

    /// Stops forwarding the current connections without closing them, as if the peer lost
    /// power. New connections work.
    pub fn lose(&self) {
        self.faults.send_modify(|faults| faults.lost_below = faults.accepted);
    }

    /// Resets the current connections, including lost ones. New connections work.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| faults.cut_below = faults.accepted);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.faults.send_modify(|faults| faults.cut_below = u64::MAX);
    }
}

impl Direction {
    fn covers(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

impl Faults {
    /// Whether data of connection `number` is delivered in `direction`.
    fn delivers(&self, number: u64, direction: Direction) -> bool {
        let is_stalled = self.stalled.is_some_and(|stalled| stalled.covers(direction));
        number >= self.lost_below && !is_stalled
    }

    /// Whether the response number `step` of a connection, counted from 1, is held back.
    fn silences(&self, step: u64) -> bool {
        self.silent_after.is_some_and(|steps| step > steps)
    }
}

async fn accept(listener: TcpListener, target: String, seed: u64, faults: watch::Sender<Faults>) {
    let target: Arc<str> = target.into();
    while let Ok((client, _)) = listener.accept().await {
        let number = faults.borrow().accepted;
        faults.send_modify(|faults| faults.accepted += 1);
        let connection = Connection { number, faults: faults.clone(), steps: Arc::default() };
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(number));
        tokio::spawn(forward(client, target.clone(), connection, rng));
    }
}

/// The faults from the view of one connection.
#[derive(Clone)]
struct Connection {
    number: u64,
    faults: watch::Sender<Faults>,
    steps: Arc<Steps>,
}

/// How far the protocol of a connection has come.
#[derive(Default)]
struct Steps {
    responses: AtomicU64,
    /// The server has sent something since the client did.
    is_responding: AtomicBool,
}

impl Steps {
    /// Notes that data passes in `direction`. Returns the number of responses so far, with the
    /// current one.
    fn pass(&self, direction: Direction) -> u64 {
        let is_response = direction == Direction::ToClient;
        let was_response = self.is_responding.swap(is_response, Ordering::SeqCst);
        let begins = u64::from(is_response && !was_response);
        self.responses.fetch_add(begins, Ordering::SeqCst) + begins
    }
}

impl Connection {
    /// Waits until data is delivered in `direction`.
    async fn wait_deliverable(&self, direction: Direction) {
        let number = self.number;
        let delivers = |faults: &Faults| faults.delivers(number, direction);
        // The sender is alive, so there is no error. `wait_cut` ends the connection.
        let _ = self.faults.subscribe().wait_for(delivers).await;
    }

    /// Waits until the server is not silent any more at response number `step`.
    async fn wait_audible(&self, step: u64) {
        let mut faults = self.faults.subscribe();
        if faults.borrow_and_update().silences(step) {
            self.faults.send_modify(|faults| faults.is_silent = true);
            let _ = faults.wait_for(|faults| !faults.silences(step)).await;
        }
    }

    /// Waits until the connection has to be reset.
    async fn wait_cut(&self) {
        let number = self.number;
        let _ = self.faults.subscribe().wait_for(|faults| number < faults.cut_below).await;
    }

    fn is_lost(&self) -> bool {
        self.number < self.faults.borrow().lost_below
    }
}

/// Forwards a connection until its end.
async fn forward(
    mut client: TcpStream,
    target: Arc<str>,
    connection: Connection,
    mut rng: Xoshiro256PlusPlus,
) {
    let mut server = None;
    let end = connection.clone();
    let forwarded = async {
        connection.wait_deliverable(Direction::ToServer).await;
        let server = server.insert(TcpStream::connect(&*target).await?);
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let back = Xoshiro256PlusPlus::seed_from_u64(rng.random());
        let there = pump(from_client, to_server, connection.clone(), Direction::ToServer, rng);
        let back = pump(from_server, to_client, connection.clone(), Direction::ToClient, back);
        let ended = try_join(there, back).await;
        if connection.is_lost() {
            // The peer is gone, and the other side must not notice.
            std::future::pending::<()>().await;
        }
        ended
    };
    let is_broken = tokio::select! {
        biased;
        () = end.wait_cut() => true,
        ended = forwarded => ended.is_err(),
    };
    if is_broken {
        for stream in [Some(client), server].into_iter().flatten() {
            // Closes with a reset.
            let _ = stream.set_zero_linger();
        }
    }
}

/// Copies data in one direction until the source is closed.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    connection: Connection,
    direction: Direction,
    mut rng: Xoshiro256PlusPlus,
) -> io::Result<()> {
    let (sent, mut in_flight) = mpsc::channel::<(Instant, Bytes)>(MAX_IN_FLIGHT);
    let faults = connection.faults.clone();
    let read = async move {
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            if from.read_buf(&mut chunk).await? == 0 {
                return Ok(());
            }
            let Range { start, end } = faults.borrow().delay.clone();
            let delay = if start < end { rng.random_range(start..end) } else { start };
            if sent.send((Instant::now() + delay, chunk.freeze())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((arrives_at, chunk)) = in_flight.recv().await {
            sleep_until(arrives_at).await;
            connection.wait_deliverable(direction).await;
            let step = connection.steps.pass(direction);
            if direction == Direction::ToClient {
                connection.wait_audible(step).await;
            }
            to.write_all(&chunk).await?;
        }
        connection.wait_deliverable(direction).await;
        to.shutdown().await
    };
    try_join(read, write).await.map(|((), ())| ())
}

#[cfg(test)]
mod tests;
