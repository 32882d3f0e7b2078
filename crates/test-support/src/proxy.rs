//! A network between a client and a server that behaves badly when told to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
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
use tokio::time::{Instant, sleep_until};

/// How many bytes travel together at most.
const PIECE: usize = 16 * 1024;
/// How many pieces may be under way in one direction of a connection.
const UNDER_WAY: usize = 64;

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
    /// Either.
    Both,
}

/// A way to a server over a port of its own, for TCP. Dropped, it closes what it carries.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    accepting: AbortHandle,
}

/// What befalls the connections.
#[derive(Clone, Debug, Default)]
struct Weather {
    /// How many connections there have been: their numbers are below that.
    made: u64,
    delay: Range<Duration>,
    stalled: Option<Direction>,
    /// Connections with smaller numbers lead nowhere.
    lost_below: u64,
    /// Connections with smaller numbers are reset.
    cut_below: u64,
}

impl Proxy {
    /// Opens the way to the server at `target`, such as `127.0.0.1:5432`. Delays vary by
    /// `seed`.
    pub async fn to(target: impl Into<String>, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let weather = watch::Sender::new(Weather::default());
        let accepting = tokio::spawn(accept(listener, target.into(), seed, weather.clone()));
        Ok(Self { address, weather, accepting: accepting.abort_handle() })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every piece takes a time out of `delay`, in both directions. Their order
    /// stays.
    pub fn delay(&self, delay: Range<Duration>) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// From now on nothing arrives in `direction`. Connections stay, new ones are accepted,
    /// and what is sent waits, as while a cable is out.
    pub fn stall(&self, direction: Direction) {
        self.weather.send_modify(|weather| weather.stalled = Some(direction));
    }

    /// Ends [`delay`](Self::delay) and [`stall`](Self::stall). What waited arrives.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| {
            weather.delay = Range::default();
            weather.stalled = None;
        });
    }

    /// Lets the connections of now lead nowhere, for good and without a word to either
    /// side, as when a peer loses its power. New ones are as good as ever.
    pub fn lose(&self) {
        self.weather.send_modify(|weather| weather.lost_below = weather.made);
    }

    /// Resets the connections of now, those that were lost too. New ones are as good as
    /// ever.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cut_below = weather.made);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.weather.send_modify(|weather| weather.cut_below = u64::MAX);
    }
}

impl Direction {
    fn covers(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

impl Weather {
    /// Whether what connection `number` carries in `direction` arrives.
    fn lets_pass(&self, number: u64, direction: Direction) -> bool {
        let is_stalled = self.stalled.is_some_and(|stalled| stalled.covers(direction));
        number >= self.lost_below && !is_stalled
    }
}

async fn accept(listener: TcpListener, target: String, seed: u64, weather: watch::Sender<Weather>) {
    let target: Arc<str> = target.into();
    while let Ok((client, _)) = listener.accept().await {
        let number = weather.borrow().made;
        weather.send_modify(|weather| weather.made += 1);
        let line = Line { number, weather: weather.subscribe() };
        let dice = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(number));
        tokio::spawn(carry(client, target.clone(), line, dice));
    }
}

/// What a connection knows of the weather.
#[derive(Clone)]
struct Line {
    number: u64,
    weather: watch::Receiver<Weather>,
}

impl Line {
    /// Waits until something may arrive in `direction`.
    async fn passes(&mut self, direction: Direction) {
        let number = self.number;
        let passes = |weather: &Weather| weather.lets_pass(number, direction);
        if self.weather.wait_for(passes).await.is_err() {
            // Nobody will change the weather any more; the end comes from `is_cut`.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the connection is to be reset.
    async fn is_cut(&mut self) {
        let number = self.number;
        // Should there be nobody left who could say so, it is.
        let _ = self.weather.wait_for(|weather| number < weather.cut_below).await;
    }

    fn is_lost(&self) -> bool {
        self.number < self.weather.borrow().lost_below
    }
}

/// Carries a connection to its end.
async fn carry(
    mut client: TcpStream,
    target: Arc<str>,
    mut line: Line,
    mut dice: Xoshiro256PlusPlus,
) {
    let mut server = None;
    let mut end = line.clone();
    let carried = async {
        line.passes(Direction::ToServer).await;
        let server = server.insert(TcpStream::connect(&*target).await?);
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let back = Xoshiro256PlusPlus::seed_from_u64(dice.random());
        let there = pump(from_client, to_server, line.clone(), Direction::ToServer, dice);
        let back = pump(from_server, to_client, line.clone(), Direction::ToClient, back);
        let ended = try_join(there, back).await;
        if line.is_lost() {
            // One side is gone; the other one has no way to know.
            std::future::pending::<()>().await;
        }
        ended
    };
    let is_broken = tokio::select! {
        biased;
        () = end.is_cut() => true,
        ended = carried => ended.is_err(),
    };
    if is_broken {
        for stream in [Some(client), server].into_iter().flatten() {
            // To be closed by a reset.
            let _ = stream.set_zero_linger();
        }
    }
}

/// Brings what comes `from` one side `to` the other, until that has been closed.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut line: Line,
    direction: Direction,
    mut dice: Xoshiro256PlusPlus,
) -> io::Result<()> {
    let (sent, mut under_way) = mpsc::channel::<(Instant, Bytes)>(UNDER_WAY);
    let weather = line.weather.clone();
    let take = async move {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            if from.read_buf(&mut piece).await? == 0 {
                return Ok(());
            }
            let Range { start, end } = weather.borrow().delay.clone();
            let delay = if start < end { dice.random_range(start..end) } else { start };
            if sent.send((Instant::now() + delay, piece.freeze())).await.is_err() {
                return Ok(());
            }
        }
    };
    let give = async move {
        while let Some((arrives_at, piece)) = under_way.recv().await {
            sleep_until(arrives_at).await;
            line.passes(direction).await;
            to.write_all(&piece).await?;
        }
        line.passes(direction).await;
        to.shutdown().await
    };
    try_join(take, give).await.map(|((), ())| ())
}

#[cfg(test)]
mod tests;
