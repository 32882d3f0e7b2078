//! The processes and the connections between them.

use std::fmt;

pub const APIS: usize = 2;
pub const WORKERS: usize = 3;

/// A process of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    Auth,
    Api(usize),
    Worker(usize),
}

/// A connection through a proxy, by its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    Postgres(Who),
    Rabbit(Who),
    /// From an API.
    Auth(usize),
    /// From the clients.
    Api(usize),
}

impl Link {
    pub fn all() -> Vec<Self> {
        let all = || Who::all().into_iter();
        let servers = all().map(Self::Postgres).chain(all().map(Self::Rabbit));
        servers.chain((0..APIS).flat_map(|api| [Self::Auth(api), Self::Api(api)])).collect()
    }
}

impl Who {
    pub fn all() -> Vec<Self> {
        let replicas = (0..APIS).map(Self::Api).chain((0..WORKERS).map(Self::Worker));
        [Self::Auth].into_iter().chain(replicas).collect()
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auth => f.write_str("auth"),
            Self::Api(number) => write!(f, "api {}", number + 1),
            Self::Worker(number) => write!(f, "worker {}", number + 1),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(who) => write!(f, "from {who} to PostgreSQL"),
            Self::Rabbit(who) => write!(f, "from {who} to RabbitMQ"),
            Self::Auth(number) => write!(f, "from {} to auth", Who::Api(*number)),
            Self::Api(number) => write!(f, "from the clients to {}", Who::Api(*number)),
        }
    }
}
