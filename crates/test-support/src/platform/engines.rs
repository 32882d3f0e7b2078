//! What a platform runs on.

use super::Program;
use crate::postgres::Server;

/// The engines under a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engines {
    /// A file, and messages within the process.
    Embedded,
    /// A database in PostgreSQL, and messages within the process.
    Postgres,
}

impl Program {
    /// Runs it on `engines`, with nothing stored there yet.
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

/// Makes a test for each set of engines of every function that it names. They take the
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
