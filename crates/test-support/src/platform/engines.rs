//! The stores and brokers under a platform.

use super::Program;
use crate::postgres::Server;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engines {
    /// SQLite and the in-process broker.
    Embedded,
    /// PostgreSQL and the in-process broker.
    Postgres,
}

impl Program {
    /// Uses `engines` with an empty store.
    #[must_use]
    pub async fn on(self, engines: Engines) -> Self {
        match engines {
            Engines::Embedded => self,
            Engines::Postgres => {
                let url = Server::shared().await.database().await.expect("a database");
                self.set("database.url", url.expose())
            }
        }
    }
}

/// Defines a test per set of engines for each of these functions, which take the
/// [`Engines`](crate::platform::Engines).
#[macro_export]
macro_rules! on_all_engines {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            #[tokio::test]
            async fn embedded() {
                super::$test($crate::platform::Engines::Embedded).await;
            }

            #[tokio::test]
            #[ignore = "needs PostgreSQL"]
            async fn postgres() {
                super::$test($crate::platform::Engines::Postgres).await;
            }
        })*
    };
}
